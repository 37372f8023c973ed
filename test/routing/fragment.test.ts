/** Fragments against a receiver's reassembly written from RFC 791 alone: together they are the original, and each fits. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { fragment, fragmentsOf } from '../../src/routing/fragment.ts';
import { UNDECIDED } from '../../src/routing/verdict.ts';
import { PLAIN } from '../support/net-header.ts';
import { pattern } from '../support/offload-frames.ts';
import { ETHERTYPE, ethernet, type Ipv4Fields, ipv4, parse } from '../support/packets.ts';
import { dirtyStorage, expectBytes, frameOf, headerOf, putFrame } from '../support/slots.ts';

const MACS = { source: '52:54:00:00:00:11', destination: '02:00:0a:4d:00:01' };
const ADDRESSES = { source: '10.77.0.11', destination: '10.77.0.12', protocol: 17 };
/** No-operation; record route (first fragment only); security (all fragments); end. */
const RECORD_ROUTE = [7, 7, 4, 0, 0, 0, 0];
const SECURITY = [130, 11, 0, 0, 0, 0, 0, 0, 0, 0, 0];
const OPTIONS = Buffer.from([1, ...RECORD_ROUTE, ...SECURITY, 0]);

function datagram(size: number, fields: Partial<Ipv4Fields> = {}): Buffer {
  const ip = ipv4({ ...ADDRESSES, flags: 0, identification: 0xbeef, ...fields }, pattern(size));
  return ethernet({ ...MACS, type: ETHERTYPE.ipv4 }, ip);
}

/** The fragments of a frame on a wire of `mtu`. */
function cut(frame: Buffer, mtu: number): Buffer[] {
  const storage = dirtyStorage(1 << 18, 512);
  const slot = putFrame(storage, frame);
  const count = fragment(storage, slot, mtu);
  expect(count).toBe(fragmentsOf(storage.bytes, storage.at[slot] + 14, frame.length - 14, mtu));
  expect(storage.count).toBe(slot + 1 + count);
  expectBytes(frameOf(storage, slot), frame);
  return Array.from({ length: count }, (_, index) => {
    const part = slot + 1 + index;
    expect(headerOf(storage, part)).toEqual(PLAIN);
    expect([storage.from[part], storage.to[part]]).toEqual([storage.from[slot], UNDECIDED]);
    return frameOf(storage, part);
  });
}

const room = (frame: Buffer, mtu: number): number => {
  const storage = dirtyStorage();
  return fragmentsOf(
    storage.bytes,
    storage.at[putFrame(storage, frame)] + 14,
    frame.length - 14,
    mtu,
  );
};

/** What a receiver puts together; also whether it has all of it. */
function reassemble(frames: Buffer[]): { data: Buffer; whole: boolean } {
  const parts = frames
    .map((frame) => parse(frame).ip!)
    .sort((a, b) => a.fragmentOffset - b.fragmentOffset);
  let end = parts[0].fragmentOffset * 8;
  for (const part of parts) {
    expect(part.fragmentOffset * 8, 'no gap, no overlap').toBe(end);
    end += part.payload.length;
  }
  const data = Buffer.concat(parts.map(({ payload }) => payload));
  return { data, whole: (parts.at(-1)!.flags & 1) === 0 };
}

describe('fragments', () => {
  test('are together the original, whatever its size and the MTU', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 68, max: 9000 }),
        fc.integer({ min: 1, max: 8000 }),
        fc.constantFrom(Buffer.alloc(0), OPTIONS),
        (mtu, size, options) => {
          fc.pre(size + 20 + options.length > mtu);
          const original = datagram(size, { options, tos: 0x2e, ttl: 17 });
          const frames = cut(original, mtu);
          const whole = parse(original).ip!;
          for (const [index, frame] of frames.entries()) {
            const { ip, problems, source, destination } = parse(frame);
            expect(problems).toEqual([]);
            expect({ source, destination }).toEqual(MACS);
            expect(frame.length - 14).toBe(ip!.totalLength);
            expect(ip!.totalLength).toBeLessThanOrEqual(mtu);
            const last = index === frames.length - 1;
            if (!last) expect(mtu - ip!.totalLength, 'as much as fits').toBeLessThan(8);
            expect(ip).toMatchObject({
              source: whole.source,
              destination: whole.destination,
              protocol: 17,
              tos: 0x2e,
              ttl: 17,
              identification: 0xbeef,
              flags: last ? 0 : 1,
            });
          }
          const { data, whole: complete } = reassemble(frames);
          expect(complete).toBe(true);
          expectBytes(data, whole.payload);
        },
      ),
    );
  });

  test('carry the options of RFC 791: all in the first, those with the copy bit in the others', () => {
    const frames = cut(datagram(200, { options: OPTIONS }), 120);
    expect(frames.length).toBeGreaterThan(2);
    const options = frames.map((frame) => [...frame.subarray(34, 54)]);
    expect(options[0]).toEqual([...OPTIONS]);
    for (const other of options.slice(1)) {
      expect(other).toEqual([1, ...Array(RECORD_ROUTE.length).fill(1), ...SECURITY, 0]);
    }
  });

  test('can be cut again', () => {
    const original = datagram(4000);
    const once = cut(original, 1500);
    const twice = once.flatMap((frame) => (frame.length - 14 > 576 ? cut(frame, 576) : [frame]));
    expect(twice.length).toBeGreaterThan(once.length);
    expect(twice.every((frame) => frame.length - 14 <= 576)).toBe(true);
    const { data, whole } = reassemble(twice);
    expect(whole).toBe(true);
    expectBytes(data, parse(original).ip!.payload);
    // What comes before the last fragment is not the end when it is cut.
    expect(reassemble(cut(once[0], 576)).whole).toBe(false);
  });

  test('are none of what must not be cut', () => {
    expect(room(datagram(2000, { flags: 2 }), 1500)).toBe(0);
    expect(room(datagram(2000), 1500)).toBe(2);
    // Of what a wire takes that is hardly longer than a header nothing is left for data.
    expect(room(datagram(40), 28)).toBe(5);
    for (const mtu of [27, 20, 1]) expect(room(datagram(40), mtu)).toBe(0);
    // The last offset is 8191: nothing must run over into the flags beside it.
    expect(room(datagram(2000, { fragmentOffset: 8191 - 250 }), 1500)).toBe(2);
    expect(room(datagram(2000, { fragmentOffset: 8191 - 249 }), 1500)).toBe(0);
  });

  test('are all or none', () => {
    const frame = datagram(4000);
    for (const [bytes, slots] of [
      [1 << 18, 3],
      [8192, 512],
    ]) {
      const storage = dirtyStorage(bytes, slots);
      const slot = putFrame(storage, frame);
      expect(fragment(storage, slot, 1500)).toBe(-1);
      expect(storage.count).toBe(slot + 1);
    }
  });
});
