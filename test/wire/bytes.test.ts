import fc from 'fast-check';
import { expect, test } from 'vitest';
import * as bytes from '../../src/wire/bytes.ts';

const at = fc.nat(9);

test('a number that was written is read again, and nothing beside it changes', () => {
  fc.assert(
    fc.property(at, fc.nat(0xffff), fc.nat(0xffffffff), (at, short, long) => {
      const array = Buffer.alloc(14, 0xa5);
      const expected = Buffer.alloc(14, 0xa5);
      bytes.write16(array, at, short);
      expected.writeUInt16BE(short, at);
      expect(array).toEqual(expected);
      expect(bytes.read16(array, at)).toBe(short);

      bytes.write16le(array, at, short);
      expected.writeUInt16LE(short, at);
      expect(array).toEqual(expected);
      expect(bytes.read16le(array, at)).toBe(short);
      expect(bytes.read16(array, at)).toBe(bytes.swap16(short));

      bytes.write32(array, at, long);
      expected.writeUInt32BE(long, at);
      expect(array).toEqual(expected);
      expect(bytes.read32(array, at)).toBe(long);

      bytes.writeKey(array, at, long | 0);
      expected.writeUInt32LE(long, at);
      expect(array).toEqual(expected);
      expect(bytes.readKey(array, at)).toBe(long | 0);
    }),
  );
});
