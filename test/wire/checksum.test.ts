import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import * as checksum from '../../src/wire/checksum.ts';
import { keyOf } from '../../src/wire/ipv4-address.ts';
import { swap16 } from '../../src/wire/bytes.ts';
import { sum16 } from '../support/packets.ts';

/** The reference sum, in the order in which src/wire/checksum.ts holds sums. */
function reference(bytes: Uint8Array): number {
  return swap16(sum16(bytes));
}

/** 0 and 0xffff are the same number in one's complement. */
function normal(sum: number): number {
  return sum === 0xffff ? 0 : sum;
}

const data = fc.uint8Array({ maxLength: 300 });

describe('sums', () => {
  test('RFC 1071 §3: 00 01 f2 03 f4 f5 f6 f7 sums to ddf2', () => {
    const bytes = Uint8Array.of(0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7);
    expect(swap16(checksum.sumBytes(bytes, 0, 8))).toBe(0xddf2);
    expect(swap16(checksum.sumWords(new Int32Array(bytes.buffer), 0, 8))).toBe(0xddf2);
  });

  test('bytes, any alignment and length', () => {
    fc.assert(
      fc.property(data, fc.nat(7), (bytes, at) => {
        const from = Math.min(at, bytes.length);
        const length = bytes.length - from;
        expect(checksum.sumBytes(bytes, from, length)).toBe(reference(bytes.subarray(from)));
      }),
    );
  });

  test('words, any length: bytes behind the range do not count', () => {
    fc.assert(
      fc.property(data, fc.nat(5), fc.nat(255), (bytes, index, behind) => {
        const words = new Int32Array(96);
        const all = new Uint8Array(words.buffer).fill(behind);
        all.set(bytes, index * 4);
        expect(checksum.sumWords(words, index, bytes.length)).toBe(reference(bytes));
      }),
    );
  });

  test.each([0, 0xff, 0x80, 0x7f])('64 KiB of %i overflow nothing', (value) => {
    const words = new Int32Array(checksum.MAX_SUM_BYTES / 4);
    const bytes = new Uint8Array(words.buffer).fill(value);
    expect(checksum.sumWords(words, 0, bytes.length)).toBe(reference(bytes));
    expect(checksum.sumBytes(bytes, 0, bytes.length)).toBe(reference(bytes));
    expect(checksum.sumWords(words, 0, bytes.length - 1)).toBe(reference(bytes.subarray(1)));
  });

  test('64 KiB of random words', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 65_000, maxLength: 65_536, size: 'max' }), (bytes) => {
        const words = new Int32Array(16_384);
        new Uint8Array(words.buffer).set(bytes);
        expect(checksum.sumWords(words, 0, bytes.length)).toBe(reference(bytes));
        expect(checksum.sumBytes(bytes, 0, bytes.length)).toBe(reference(bytes));
      }),
      { numRuns: 20 },
    );
  });

  test('the parts of a range make its sum, also behind an odd first part', () => {
    fc.assert(
      fc.property(data, fc.nat(300), (bytes, cut) => {
        const at = Math.min(cut, bytes.length);
        const first = checksum.sumBytes(bytes, 0, at);
        const rest = checksum.sumBytes(bytes, at, bytes.length - at);
        expect(checksum.join(first, at, rest)).toBe(reference(bytes));
      }),
    );
  });

  test('fold brings any 32 bits to 16', () => {
    fc.assert(
      fc.property(fc.nat(0xffffffff), (sum) => {
        const folded = checksum.fold(sum);
        expect(folded).toBeLessThanOrEqual(0xffff);
        expect(folded % 0xffff).toBe(sum % 0xffff);
      }),
    );
    expect(checksum.fold(0xffffffff)).toBe(0xffff);
    expect(checksum.fold(0)).toBe(0);
  });
});

test('a field filled with finish() makes the whole sum 0xffff', () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 2, maxLength: 100 }), fc.nat(49), (bytes, half) => {
      const field = Math.min(half * 2, (bytes.length - 2) & -2);
      checksum.put(bytes, field, 0);
      const value = checksum.finish(checksum.sumBytes(bytes, 0, bytes.length));
      checksum.put(bytes, field, value);
      expect(checksum.get(bytes, field)).toBe(value);
      expect(checksum.sumBytes(bytes, 0, bytes.length)).toBe(0xffff);
    }),
  );
});

test('the pseudo-header of TCP and UDP', () => {
  const header = Uint8Array.of(10, 77, 0, 11, 192, 168, 255, 12, 0, 17, 0x12, 0x35);
  expect(checksum.pseudoHeader(keyOf('10.77.0.11'), keyOf('192.168.255.12'), 17, 0x1235)).toBe(
    reference(header),
  );
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 12, maxLength: 12 }), (bytes) => {
      bytes[8] = 0;
      const view = new DataView(bytes.buffer, bytes.byteOffset);
      const sum = checksum.pseudoHeader(
        view.getInt32(0, true),
        view.getInt32(4, true),
        bytes[9],
        view.getUint16(10),
      );
      expect(sum).toBe(reference(bytes));
    }),
  );
});

describe('update', () => {
  test('RFC 1624 §4: dd2f, 5555 becomes 3285, so 0000', () => {
    expect(checksum.update(0xdd2f, 0x5555, 0x3285)).toBe(0x0000);
  });

  test('equals computing anew', () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ minLength: 20, maxLength: 20 }),
        fc.integer({ min: 1, max: 9 }),
        fc.nat(0xffff),
        (bytes, half, after) => {
          bytes[4] |= 1; // RFC 1624 §3: equation 3 is exact for data that is not all zeros
          if (half === 2) return;
          checksum.put(bytes, 0, 0);
          const before = checksum.finish(checksum.sumBytes(bytes, 0, 20));
          const old = checksum.get(bytes, half * 2);
          checksum.put(bytes, half * 2, after);
          const anew = checksum.finish(checksum.sumBytes(bytes, 0, 20));
          expect(normal(checksum.update(before, old, after))).toBe(normal(anew));
        },
      ),
    );
  });
});
