/** The receive ring over frames laid out as tpacket_rcv does, with all that a veth pair can't be made to bring. */
import { describe, expect, it } from 'vitest';
import { frameStarts, PACKET } from '../../src/adapter/packet-layout.ts';
import { ReceiveRing } from '../../src/adapter/receive-ring.ts';
import { CELL, Counters } from '../../src/counters.ts';
import type { Native } from '../../src/native.ts';
import { CopyList } from '../../src/storage/copy-list.ts';
import { dirtyStorage, frameOf, headerOf } from '../support/slots.ts';

/** Two frames a block, and a rest that belongs to none. */
const SHAPE = { start: 0, blockBytes: 4096, frameBytes: 2032, frames: 6 };
/** Of the Ethernet frame in its ring frame, as with PACKET_VNET_HDR_SZ = 12. */
const MAC = 78;

interface Packet {
  frame: Uint8Array;
  /** sll_pkttype */
  type?: number;
  status?: number;
  vlan?: number;
  /** Length before the kernel cut it. */
  full?: number;
  mac?: number;
  captured?: number;
}

function world(slots = 64, rows = 64) {
  const memory = new ArrayBuffer(3 * SHAPE.blockBytes);
  const view = new DataView(memory);
  const bytes = new Uint8Array(memory);
  const storage = dirtyStorage(1 << 16, slots);
  const counters = new Counters(1);
  const native = {
    gatherCopies: (count: number) => {
      for (let row = 0; row < count; row++) {
        const [region, arena, length] = copies.cells.subarray(row * 6 + 2, row * 6 + 5);
        expect(region).toBe(4);
        const from = copies.offsets[row * 3];
        storage.bytes.set(bytes.subarray(from, from + length), arena);
      }
      return 0;
    },
  } as unknown as Native;
  const copies = new CopyList(native, new ArrayBuffer(24 * rows));
  const starts = frameStarts(SHAPE);
  let next = 0;
  const ring = new ReceiveRing(memory, 4, SHAPE, 0, storage, copies, counters);
  return {
    ring,
    storage,
    counters,
    view,
    status: (frame: number) => view.getUint32(starts[frame] + PACKET.status, true),
    /** The kernel fills the next frames and hands them over; how many it had room for. */
    fill(...packets: Packet[]): number {
      let filled = 0;
      for (const { frame, type, status, vlan, full, mac, captured } of packets) {
        const at = starts[next];
        if (view.getUint32(at + PACKET.status, true) !== KERNEL) break;
        bytes.fill(0xee, at, at + SHAPE.frameBytes);
        view.setUint32(at + PACKET.capturedLength, captured ?? frame.length, true);
        view.setUint32(at + PACKET.length, full ?? captured ?? frame.length, true);
        view.setUint16(at + PACKET.mac, mac ?? MAC, true);
        view.setUint16(at + PACKET.vlanTci, vlan ?? 0, true);
        bytes[at + PACKET.type] = type ?? 0;
        bytes.set([1, 0, 0x22, 0, 0, 0, 34, 0, 6, 0], at + MAC - 10);
        bytes.set(frame, at + MAC);
        view.setUint32(at + PACKET.status, status ?? USER, true);
        next = (next + 1) % SHAPE.frames;
        filled++;
      }
      return filled;
    },
    take(datagrams = 100, budget = 1 << 20): Buffer[] {
      storage.clear();
      ring.gather(datagrams, budget);
      copies.gather();
      ring.release();
      return Array.from({ length: storage.count }, (_, slot) => frameOf(storage, slot));
    },
  };
}

const frame = (mark: number, length = 64) => Buffer.alloc(length, mark);
const USER = 1;
const KERNEL = 0;

const marked = (...marks: number[]) => marks.map((mark) => ({ frame: frame(mark) }));

describe('receive ring', () => {
  it('takes frames with their headers and hands them back', () => {
    const { ring, fill, take, status, storage, counters } = world();
    expect(ring.hasWork()).toBe(false);
    fill({ frame: frame(1) }, { frame: frame(2, 333) }, { frame: frame(3, 14) });
    expect(ring.hasWork()).toBe(true);
    expect(take()).toEqual([frame(1), frame(2, 333), frame(3, 14)]);
    expect(headerOf(storage, 1)).toEqual({
      flags: 1,
      gsoType: 0,
      headerLength: 0x22,
      gsoSize: 0,
      checksumStart: 34,
      checksumOffset: 6,
      buffers: 0, // never what lay there before
    });
    expect([status(0), status(1), status(2)]).toEqual([KERNEL, KERNEL, KERNEL]);
    expect(ring.hasWork()).toBe(false);
    expect(counters.get(0, 'receivedDatagrams')).toBe(3);
    expect(counters.get(0, 'receivedBytes')).toBe(64 + 333 + 14);
  });

  it('goes round, in the order of arrival', () => {
    const { fill, take } = world();
    for (let round = 0; round < 20; round++) {
      fill(...marked(round, round + 100, round + 200));
      expect(take(1)).toEqual([frame(round)]);
      expect(take()).toEqual([frame(round + 100), frame(round + 200)]);
      expect(take()).toEqual([]);
    }
  });

  it('takes a full ring once', () => {
    const { fill, take, ring } = world();
    fill(...marked(1, 2));
    take();
    expect(fill(...marked(3, 4, 5, 6, 7, 8, 9))).toBe(SHAPE.frames);
    expect(take()).toEqual([3, 4, 5, 6, 7, 8].map((mark) => frame(mark)));
    expect(ring.hasWork()).toBe(false);
  });

  it('stops at a full ring whose frames it has not handed back', () => {
    const { fill, ring, storage } = world();
    fill(...marked(1, 2, 3, 4, 5, 6));
    storage.clear();
    expect(ring.gather(100, 1 << 20)).toBe(SHAPE.frames);
    expect(ring.hasWork()).toBe(false);
    expect(ring.gather(100, 1 << 20)).toBe(0);
  });

  it('keeps a frame until it is copied', () => {
    const { fill, take, status, ring } = world();
    fill(...marked(1, 2, 3, 4, 5));
    expect(take(2)).toEqual([frame(1), frame(2)]);
    expect([status(1), status(2)]).toEqual([KERNEL, USER]);
    expect(ring.hasWork()).toBe(true);
    expect(take(100, 65), 'bytes: one more than the first holds').toEqual([frame(3), frame(4)]);
    expect(take(2)).toEqual([frame(5)]);
    expect(status(4)).toBe(KERNEL);
  });

  it('waits for room in base storage without losing anything', () => {
    const { fill, take, status } = world(2);
    fill(...marked(1, 2, 3));
    expect(take()).toEqual([frame(1), frame(2)]);
    expect(status(2)).toBe(USER);
    expect(take()).toEqual([frame(3)]);
  });

  it('carries a full copy list out', () => {
    const { fill, take } = world(64, 2);
    fill(...marked(1, 2, 3, 4, 5));
    expect(take()).toEqual([1, 2, 3, 4, 5].map((mark) => frame(mark)));
  });

  it('leaves alone what is not for it', () => {
    const { fill, take, counters } = world();
    fill(...[0, 1, 2, 3, 4, 5].map((type) => ({ frame: frame(type), type })));
    expect(take()).toEqual([frame(0), frame(1), frame(2)]);
    expect(counters.get(0, 'receivedDatagrams')).toBe(3);
  });

  it('with a MAC of its own, takes that and what goes to all', () => {
    const { ring, fill, take } = world();
    ring.setOwnMac(new Uint16Array(Uint8Array.of(9, 9, 9, 9, 9, 9).buffer));
    const types = [0, 1, 2, 3, 4];
    fill(...types.map((type) => ({ frame: frame(8), type })));
    expect(take()).toEqual([frame(8), frame(8)]);
    fill(...types.map((type) => ({ frame: frame(9), type })));
    expect(take()).toEqual([frame(9), frame(9), frame(9), frame(9)]);
  });

  it('counts what is cut off, tagged, too short or too long', () => {
    const { fill, take, counters } = world();
    fill(
      { frame: frame(1), full: 9000 },
      { frame: frame(2), status: 0x51, vlan: 0x2005 },
      { frame: frame(3), status: 0x51, vlan: 0xe000 },
      { frame: frame(4, 13) },
    );
    expect(take()).toEqual([frame(3)]);
    for (const reason of ['adapterTruncated', 'vlan', 'runt'] as const) {
      expect(counters.get(0, reason), reason).toBe(1);
    }
    expect(counters.get(0, 'receivedDatagrams')).toBe(4);
    expect(counters.cells[CELL.receivedBytes]).toBe(9000 + 64 + 64 + 13);
  });

  it.each<[string, Partial<Packet>]>([
    ['an Ethernet frame behind the ring frame', { mac: 2030 }],
    ['one inside the header', { mac: 42 }],
    ['one at an odd offset', { mac: 79 }],
    ['one longer than the ring frame', { captured: 2000 }],
    ['a negative length', { captured: -1 }],
  ])('steps over %s', (_, lie) => {
    const { fill, take, status } = world();
    fill({ frame: frame(1), ...lie }, { frame: frame(2) });
    expect(take()).toEqual([frame(2)]);
    expect([status(0), status(1)]).toEqual([KERNEL, KERNEL]);
  });
});
