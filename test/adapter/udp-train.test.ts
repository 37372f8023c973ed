/**
 * Trains of UDP datagrams: whatever leaves, a kernel that cuts what it gets (as __udp_gso_segment does) puts the same datagrams on the
 * wire, in the same order within each flow, and none that was broken becomes whole.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { PACKET } from '../../src/adapter/packet-layout.ts';
import { TransmitRing } from '../../src/adapter/transmit-ring.ts';
import { LONGEST_TRAIN, UdpTrain } from '../../src/adapter/udp-train.ts';
import type { Native } from '../../src/native.ts';
import { CopyList } from '../../src/storage/copy-list.ts';
import { decodeNetHeader, GSO, HDR_FLAG, type NetHeader } from '../support/net-header.ts';
import { checksum, ethernet, ipv4, parse, PROTOCOL, udp } from '../support/packets.ts';
import { sumBytes } from '../../src/wire/checksum.ts';
import { dirtyStorage, putFrame } from '../support/slots.ts';

const FRAMES = 128;
const SENDERS = 4;
const MACS = { source: '02:00:00:00:00:01', destination: '02:00:00:00:00:02', type: 0x0800 };
const DONT_FRAGMENT = 2;

interface Datagram {
  port: number;
  size: number;
  fill: number;
  identification: number;
  flags: number;
  ttl: number;
  checksum: 'full' | 'partial' | 'none' | 'wrong';
}

const PLAIN: Datagram = {
  port: 53,
  size: 20,
  fill: 0,
  identification: 0,
  flags: DONT_FRAGMENT,
  ttl: 64,
  checksum: 'full',
};

function frameOf(datagram: Datagram): Buffer {
  const addresses = { source: '10.77.0.11', destination: '10.77.0.254' };
  const { port, size, fill, identification, flags, ttl } = datagram;
  const style = datagram.checksum === 'wrong' ? 0x1234 : datagram.checksum;
  const ports = { sourcePort: 7, destinationPort: port, checksum: style };
  const packet = udp({ ...addresses, ...ports }, Buffer.alloc(size, fill));
  const fields = { ...addresses, protocol: PROTOCOL.udp, identification, flags, ttl };
  return ethernet(MACS, ipv4(fields, packet));
}

const headerOf = (datagram: Datagram): Partial<NetHeader> =>
  datagram.checksum === 'partial'
    ? { flags: HDR_FLAG.needsCsum, checksumStart: 34, checksumOffset: 6 }
    : {};

/** What one turn's datagrams become: the frames that the kernel gets, header and bytes. */
function leave(
  datagrams: Datagram[],
  headerBytes: 10 | 12,
  rows = 1024,
): { header: NetHeader; bytes: Buffer }[] {
  const storage = dirtyStorage();
  const frameBytes = 4096;
  const memory = new Uint8Array(FRAMES * frameBytes);
  const native = {
    packetSend: () => 0,
    deliverCopies: (count: number) => {
      for (let row = 0; row < count; row++) {
        const [, arena, length] = copies.cells.subarray(row * 6 + 2, row * 6 + 5);
        memory.set(storage.bytes.subarray(arena, arena + length), copies.offsets[row * 3]);
      }
      return 0;
    },
    sumRanges: (ranges: Int32Array, count: number) => {
      for (let i = 0; i < 2 * count; i += 2)
        ranges[i] = sumBytes(storage.bytes, ranges[i], ranges[i + 1]);
      return 0;
    },
  } as unknown as Native;
  const copies = new CopyList(native, new ArrayBuffer(24 * rows));
  const shape = { frameBytes, frames: FRAMES };
  const ring = new TransmitRing(
    native,
    9,
    memory.buffer,
    5,
    0,
    shape,
    headerBytes,
    storage,
    copies,
    SENDERS,
  );
  ring.useTrain(new UdpTrain(native, storage));
  for (const datagram of datagrams) {
    expect(ring.put(putFrame(storage, frameOf(datagram), headerOf(datagram)))).toBe(0);
  }
  copies.deliver();
  ring.publish();
  const words = new Int32Array(memory.buffer);
  const frames: { header: NetHeader; bytes: Buffer }[] = [];
  for (let at = 0; words[(at + PACKET.status) >> 2] === 1; at += frameBytes) {
    const length = words[(at + PACKET.length) >> 2];
    const all = Buffer.from(
      memory.slice(at + PACKET.headerBytes, at + PACKET.headerBytes + length),
    );
    frames.push({
      header: decodeNetHeader(all.subarray(0, headerBytes), headerBytes),
      bytes: all.subarray(headerBytes),
    });
  }
  return frames;
}

/** What the wire gets of one frame. */
function cut({ header, bytes }: { header: NetHeader; bytes: Buffer }): Buffer[] {
  if (header.gsoType === GSO.none) {
    if ((header.flags & HDR_FLAG.needsCsum) !== 0) complete(bytes);
    return [bytes];
  }
  expect(header).toMatchObject({
    flags: HDR_FLAG.needsCsum,
    gsoType: GSO.udpL4,
    headerLength: 42,
    checksumStart: 34,
    checksumOffset: 6,
  });
  const { ip, problems } = parse(bytes);
  expect(ip!.totalLength).toBe(bytes.length - 14);
  expect(problems.filter((problem) => !/udp checksum/i.test(problem))).toEqual([]);
  const first = ip!.identification;
  const parts: Buffer[] = [];
  for (let at = 42; at < bytes.length; at += header.gsoSize) {
    const data = bytes.subarray(at, at + header.gsoSize);
    const part = Buffer.concat([bytes.subarray(0, 42), data]);
    part.writeUInt16BE(part.length - 14, 16);
    part.writeUInt16BE((first + parts.length) & 0xffff, 18);
    part.writeUInt16BE(0, 24);
    part.writeUInt16BE(checksum(part.subarray(14, 34)), 24);
    part.writeUInt16BE(part.length - 34, 38);
    complete(part);
    parts.push(part);
  }
  expect(parts.length).toBeGreaterThan(1);
  expect(parts.length).toBeLessThanOrEqual(LONGEST_TRAIN);
  return parts;
}

function complete(frame: Buffer): void {
  const total = frame.readUInt16BE(38);
  const pseudo = Buffer.alloc(12);
  frame.copy(pseudo, 0, 26, 34);
  pseudo[9] = PROTOCOL.udp;
  pseudo.writeUInt16BE(total, 10);
  frame.writeUInt16BE(0, 40);
  const value = checksum(pseudo, frame.subarray(34, 34 + total));
  frame.writeUInt16BE(value === 0 ? 0xffff : value, 40);
}

/** What should be on the wire; the identification of what is never fragmented means nothing (RFC 6864). */
function expected(datagram: Datagram): Buffer {
  const frame = frameOf(datagram);
  if (datagram.checksum === 'partial') complete(frame);
  return comparable(frame);
}

function comparable(frame: Buffer): Buffer {
  if ((frame[20] & 0x40) === 0) return frame;
  const copy = Buffer.from(frame);
  copy.writeUInt16BE(0, 18);
  copy.writeUInt16BE(0, 24);
  return copy;
}

const many = (count: number, change: (index: number) => Partial<Datagram> = () => ({})) =>
  Array.from({ length: count }, (_, index) => ({ ...PLAIN, fill: index, ...change(index) }));
const trains = (datagrams: Datagram[]) => leave(datagrams, 12).map((frame) => cut(frame).length);

describe('UDP trains', () => {
  it('couple what is alike, as many as Linux cuts, the last one shorter', () => {
    expect(trains(many(10))).toEqual([10]);
    expect(trains(many(70))).toEqual([64, 6]);
    expect(trains(many(5, (index) => ({ size: index === 2 ? 7 : 20 })))).toEqual([3, 2]);
    expect(trains(many(4, (index) => ({ identification: 100 + index, flags: 0 })))).toEqual([4]);
    expect(trains(many(3, () => ({ checksum: 'partial' })))).toEqual([3]);
  });

  it('couple nothing else', () => {
    expect(trains(many(3, () => ({ checksum: 'none' })))).toEqual([1, 1, 1]);
    expect(trains(many(3, () => ({ checksum: 'wrong' })))).toEqual([1, 1, 1]);
    expect(trains(many(3, () => ({ identification: 5, flags: 0 })))).toEqual([1, 1, 1]);
    expect(trains(many(3, (index) => ({ port: index })))).toEqual([1, 1, 1]);
    expect(trains(many(3, (index) => ({ ttl: 60 + index })))).toEqual([1, 1, 1]);
    expect(trains(many(3, (index) => ({ size: 20 + index })))).toEqual([1, 1, 1]);
    expect(trains(many(3, () => ({ size: 0 })))).toEqual([1, 1, 1]);
    expect(trains(many(3, () => ({ flags: 1 })))).toEqual([1, 1, 1]);
  });

  it('come out of the cut as they went in', () => {
    const datagram = fc.record({
      port: fc.constantFrom(53, 53, 53, 54),
      size: fc.constantFrom(0, 1, 20, 20, 20, 21, 400),
      fill: fc.nat(255),
      identification: fc.constantFrom(-1, -1, -1, 77),
      flags: fc.constantFrom(0, DONT_FRAGMENT, DONT_FRAGMENT),
      ttl: fc.constantFrom(64, 64, 64, 63),
      checksum: fc.constantFrom('full', 'full', 'partial', 'none', 'wrong'),
    }) as fc.Arbitrary<Datagram>;
    const run = fc.record({ datagram, length: fc.integer({ min: 1, max: 12 }) });
    let coupled = 0;
    fc.assert(
      fc.property(
        fc.array(run, { maxLength: 8 }),
        fc.constantFrom(10 as const, 12 as const),
        fc.constantFrom(3, 1024),
        (runs, headerBytes, rows) => {
          const datagrams = runs.flatMap(({ datagram, length }) => many(length, () => datagram));
          for (const [index, each] of datagrams.entries())
            if (each.identification < 0) each.identification = index;
          const frames = leave(datagrams, headerBytes, rows);
          if (frames.length < datagrams.length) coupled++;
          const wire = frames.flatMap(cut).map(comparable);
          expect(wire).toEqual(datagrams.map(expected));
        },
      ),
    );
    expect(coupled).toBeGreaterThan(10);
  });
});
