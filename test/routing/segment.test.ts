import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { checkOffload } from '../../src/routing/offload.ts';
import { checkReceivedOffload } from '../../src/routing/offload-received.ts';
import { segment } from '../../src/routing/segment.ts';
import { FRAME_OFFSET, SLOT_ALIGN, type BaseStorage } from '../../src/storage/base-storage.ts';
import { PLAIN } from '../support/net-header.ts';
import { offloadedTcp, offloadedUdp, pattern, type Offloaded } from '../support/offload-frames.ts';
import { parse, TCP_FLAG } from '../support/packets.ts';
import { dirtyStorage, expectBytes, frameOf, headerOf, putFrame } from '../support/slots.ts';

function slotOf(storage: BaseStorage, { frame, header }: Offloaded): number {
  const slot = putFrame(storage, frame, header);
  expect(checkOffload(storage, slot, true, true, true)).toBe(0);
  storage.to[slot] = 9;
  return slot;
}

/** The segments' frames, each with a clear header and the original's ports, and in storage where slots belong. */
function segments(storage: BaseStorage, slot: number): Buffer[] {
  const original = frameOf(storage, slot);
  const first = storage.count;
  const count = segment(storage, slot);
  expect(storage.count).toBe(first + count);
  expectBytes(frameOf(storage, slot), original);
  const frames: Buffer[] = [];
  for (let i = first; i < storage.count; i++) {
    expect(headerOf(storage, i)).toEqual(PLAIN);
    expect(storage.from[i]).toBe(storage.from[slot]);
    expect(storage.to[i]).toBe(storage.to[slot]);
    frames.push(frameOf(storage, i));
  }
  return frames;
}

const ALL_FLAGS =
  TCP_FLAG.ack | TCP_FLAG.psh | TCP_FLAG.fin | TCP_FLAG.cwr | TCP_FLAG.ece | TCP_FLAG.urg;

function checkTcp(shape: Required<Parameters<typeof offloadedTcp>[0]>): void {
  const storage = dirtyStorage(1 << 18, 256);
  const slot = slotOf(storage, offloadedTcp(shape));
  const frames = segments(storage, slot);
  const whole = frameOf(storage, slot);
  const original = parse(whole);
  expect(frames.length).toBe(Math.ceil(shape.payload.length / shape.gsoSize));
  const headers = 34 + shape.ipOptions + 20 + shape.tcpOptions;
  let done = 0;
  frames.forEach((frame, i) => {
    const last = i === frames.length - 1;
    const parsed = parse(frame);
    if (parsed.problems.length > 0 || parsed.checksum !== 'good' || !parsed.ip || !parsed.tcp) {
      expect.fail(`segment ${i}: ${parsed.checksum} ${parsed.problems}`);
    }
    const { ip, tcp } = parsed;
    const data = last ? shape.payload.length - done : shape.gsoSize;
    expect(frame.length).toBe(headers + data);
    expect(ip.totalLength).toBe(headers - 14 + data);
    expect(ip.identification).toBe((shape.identification + i) & 0xffff);
    // The rest of the IP header is everybody's.
    expect({ ...ip, totalLength: 0, identification: 0, payload: null }).toEqual({
      ...original.ip,
      totalLength: 0,
      identification: 0,
      payload: null,
    });
    expect(tcp.sequence).toBe((shape.sequence + done) % 2 ** 32);
    expect(tcp.acknowledgement).toBe(77);
    let flags = shape.flags;
    if (!last) flags &= ~(TCP_FLAG.fin | TCP_FLAG.psh);
    if (i > 0) flags &= ~TCP_FLAG.cwr;
    expect(tcp.flags).toBe(flags);
    const expected = Buffer.from(shape.payload).subarray(done, done + data);
    expect(tcp.payload.equals(expected)).toBe(true);
    // Options, window and urgent pointer are everybody's.
    const ends = [12, 14, 15, 18, 19];
    const l4 = 34 + shape.ipOptions;
    const at = (bytes: Buffer) => ends.map((end) => bytes[l4 + end]);
    expect(at(frame)).toEqual(at(whole));
    expectBytes(frame.subarray(l4 + 20, headers), whole.subarray(l4 + 20, headers));
    done += data;
  });
  expect(done).toBe(shape.payload.length);
}

describe('TCP', () => {
  const usual = {
    payload: pattern(65_000),
    gsoSize: 1448,
    ipOptions: 0,
    tcpOptions: 12,
    flags: ALL_FLAGS,
    sequence: 1000,
    identification: 7,
  };

  test('64 KiB', () => checkTcp(usual));
  test('sequence and identification wrap', () =>
    checkTcp({ ...usual, sequence: 0xffffff00, identification: 0xfffe }));
  test('the last segment of one byte', () =>
    checkTcp({ ...usual, payload: pattern(1448 * 3 + 1) }));
  test('the last segment is full', () => checkTcp({ ...usual, payload: pattern(1448 * 3) }));
  test('odd sizes and all options', () =>
    checkTcp({ ...usual, gsoSize: 457, ipOptions: 40, tcpOptions: 40 }));

  test('any size', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 2, max: 65_000 }),
        fc.integer({ min: 48, max: 10_000 }),
        fc.nat(10),
        fc.nat(10),
        fc.nat(0xffffffff),
        fc.nat(0xffff),
        fc.nat(255),
        (length, size, ip, tcp, sequence, identification, flags) => {
          const gsoSize = Math.max(size, Math.ceil(length / 160));
          if (length <= gsoSize) return;
          checkTcp({
            payload: pattern(length),
            gsoSize,
            ipOptions: ip * 4,
            tcpOptions: tcp * 4,
            flags,
            sequence,
            identification,
          });
        },
      ),
      { numRuns: 60 },
    );
  });
});

describe('UDP from a sender on this host', () => {
  test('becomes datagrams of gso_size', () => {
    for (const gsoSize of [1, 3, 1200, 1472]) {
      const payload = pattern(gsoSize * 4 + 1);
      const { frame, header } = offloadedUdp({ payload, gsoSize, identification: 0xffff });
      const storage = dirtyStorage();
      const slot = putFrame(storage, frame, header);
      expect(checkReceivedOffload(storage, slot)).toBe(0);
      const frames = segments(storage, slot);
      expect(frames.length).toBe(5);
      frames.forEach((frame, i) => {
        const parsed = parse(frame);
        expect(parsed.problems).toEqual([]);
        expect(parsed.checksum).toBe('good');
        expect(parsed.ip?.identification).toBe((0xffff + i) & 0xffff);
        expect(parsed.udp?.payload).toEqual(payload.subarray(i * gsoSize, (i + 1) * gsoSize));
        expect(parsed.udp?.sourcePort).toBe(40000);
      });
    }
  });
});

describe('storage without room', () => {
  const offloaded = offloadedTcp({ payload: pattern(10_000), gsoSize: 1000 });
  const round = (bytes: number) => (FRAME_OFFSET + bytes + SLOT_ALIGN - 1) & -SLOT_ALIGN;
  const exact = round(offloaded.frame.length) + 10 * round(1054);

  function tryIt(limit: number, slots: number): number {
    const storage = dirtyStorage(limit, slots);
    const slot = slotOf(storage, offloaded);
    const before = { count: storage.count, fill: storage.fill, bytes: storage.bytes.slice() };
    const count = segment(storage, slot);
    if (count < 0) {
      expect(storage.count).toBe(before.count);
      expect(storage.fill).toBe(before.fill);
      expectBytes(storage.bytes, before.bytes);
    }
    return count;
  }

  test('just enough bytes, and one cache line less', () => {
    expect(tryIt(exact, 100)).toBe(10);
    expect(tryIt(exact - SLOT_ALIGN, 100)).toBe(-1);
  });

  test('just enough slots, and one less', () => {
    expect(tryIt(1 << 20, 11)).toBe(10);
    expect(tryIt(1 << 20, 10)).toBe(-1);
  });

  test('a header that was never checked does no harm', () => {
    const storage = dirtyStorage();
    const slot = putFrame(storage, offloaded.frame, { ...offloaded.header, gsoSize: 0 });
    expect(segment(storage, slot)).toBe(-1);
    expect(storage.count).toBe(1);
  });
});
