/** The receive ring over blocks laid out as tpacket_rcv does, with all that a veth pair can't be made to bring. */
import { describe, expect, it } from 'vitest';
import { BLOCK, PACKET } from '../../src/adapter/packet-layout.ts';
import { ReceiveRing } from '../../src/adapter/receive-ring.ts';
import { CELL, Counters } from '../../src/counters.ts';
import type { Native } from '../../src/native.ts';
import { CopyList } from '../../src/storage/copy-list.ts';
import { dirtyStorage, frameOf, headerOf } from '../support/slots.ts';

const BLOCK_BYTES = 4096;
const BLOCKS = 3;
/** Of the frame in its packet, as with PACKET_VNET_HDR. */
const MAC = 94;

interface Packet {
  frame: Uint8Array;
  /** sll_pkttype */
  type?: number;
  status?: number;
  vlan?: number;
  /** Length before the kernel cut it. */
  full?: number;
  mac?: number;
  next?: number;
}

function world(slots = 64, rows = 64) {
  const memory = new ArrayBuffer(BLOCK_BYTES * BLOCKS);
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
  const shape = { blockBytes: BLOCK_BYTES, blocks: BLOCKS };
  const ring = new ReceiveRing(memory, 4, shape, 0, storage, copies, counters);
  return {
    ring,
    storage,
    counters,
    view,
    status: (block: number) => view.getUint32(block * BLOCK_BYTES + BLOCK.status, true),
    /** The kernel fills a block and hands it over. */
    fill(block: number, packets: Packet[]): void {
      const start = block * BLOCK_BYTES;
      bytes.fill(0xee, start, start + BLOCK_BYTES);
      let at = start + BLOCK.headerBytes;
      view.setUint32(start + BLOCK.packets, packets.length, true);
      view.setUint32(start + BLOCK.firstPacket, BLOCK.headerBytes, true);
      for (const [index, { frame, type, status, vlan, full, mac, next }] of packets.entries()) {
        const size = (MAC + frame.length + 7) & ~7;
        const last = index === packets.length - 1;
        view.setUint32(at + PACKET.nextOffset, next ?? (last ? 0 : size), true);
        view.setUint32(at + PACKET.capturedLength, frame.length, true);
        view.setUint32(at + PACKET.length, full ?? frame.length, true);
        view.setUint32(at + PACKET.status, status ?? 1, true);
        view.setUint16(at + PACKET.mac, mac ?? MAC, true);
        view.setUint32(at + PACKET.vlanTci, vlan ?? 0, true);
        bytes[at + PACKET.type] = type ?? 0;
        bytes.set([1, 0, 0x22, 0, 0, 0, 34, 0, 6, 0], at + MAC - 10);
        bytes.set(frame, at + MAC);
        at += size;
      }
      view.setUint32(start + BLOCK.status, 1, true);
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

describe('receive ring', () => {
  it('takes frames with their headers and hands the block back', () => {
    const { ring, fill, take, status, storage, counters } = world();
    expect(ring.hasWork()).toBe(false);
    fill(0, [{ frame: frame(1) }, { frame: frame(2, 333) }, { frame: frame(3, 14) }]);
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
    expect(status(0)).toBe(KERNEL);
    expect(ring.hasWork()).toBe(false);
    expect(counters.get(0, 'receivedDatagrams')).toBe(3);
    expect(counters.get(0, 'receivedBytes')).toBe(64 + 333 + 14);
  });

  it('goes round, and never past a block that is not its own', () => {
    const { fill, take } = world();
    for (let round = 0; round < 7; round++) {
      fill(round % BLOCKS, [{ frame: frame(round) }]);
      fill((round + 2) % BLOCKS, []); // not next: not looked at
      expect(take(1)).toEqual([frame(round)]);
      fill((round + 1) % BLOCKS, []);
      expect(take()).toEqual([]);
      fill((round + 2) % BLOCKS, []);
      expect(take()).toEqual([]);
      fill(round % BLOCKS, []);
      expect(take()).toEqual([]);
    }
  });

  it('keeps a block until its last frame is copied', () => {
    const { fill, take, status, ring } = world();
    fill(
      0,
      [1, 2, 3, 4, 5].map((mark) => ({ frame: frame(mark) })),
    );
    fill(1, [{ frame: frame(6) }]);
    expect(take(2)).toEqual([frame(1), frame(2)]);
    expect(status(0)).toBe(USER);
    expect(ring.hasWork()).toBe(true);
    expect(take(100, 65), 'bytes: one more than the first holds').toEqual([frame(3), frame(4)]);
    expect(take(2)).toEqual([frame(5), frame(6)]);
    expect([status(0), status(1)]).toEqual([KERNEL, KERNEL]);
  });

  it('waits for room in base storage without losing anything', () => {
    const { fill, take, status } = world(2);
    fill(
      0,
      [1, 2, 3].map((mark) => ({ frame: frame(mark) })),
    );
    expect(take()).toEqual([frame(1), frame(2)]);
    expect(status(0)).toBe(USER);
    expect(take()).toEqual([frame(3)]);
  });

  it('carries a full copy list out', () => {
    const { fill, take } = world(64, 2);
    fill(
      0,
      [1, 2, 3, 4, 5].map((mark) => ({ frame: frame(mark) })),
    );
    expect(take()).toEqual([1, 2, 3, 4, 5].map((mark) => frame(mark)));
  });

  it('leaves alone what is not for it', () => {
    const { fill, take, counters } = world();
    fill(
      0,
      [0, 1, 2, 3, 4, 5].map((type) => ({ frame: frame(type), type })),
    );
    expect(take()).toEqual([frame(0), frame(1), frame(2)]);
    expect(counters.get(0, 'receivedDatagrams')).toBe(3);
  });

  it('with a MAC of its own, takes that and what goes to all', () => {
    const { ring, fill, take } = world();
    ring.setOwnMac(new Uint16Array(Uint8Array.of(9, 9, 9, 9, 9, 9).buffer));
    const types = [0, 1, 2, 3, 4];
    fill(
      0,
      types.map((type) => ({ frame: frame(8), type })),
    );
    fill(
      1,
      types.map((type) => ({ frame: frame(9), type })),
    );
    expect(take()).toEqual([frame(8), frame(8), frame(9), frame(9), frame(9), frame(9)]);
  });

  it('counts what is cut off, tagged, too short or too long', () => {
    const { fill, take, counters } = world();
    fill(0, [
      { frame: frame(1), full: 9000 },
      { frame: frame(2), status: 0x51, vlan: 0x2005 },
      { frame: frame(3), status: 0x51, vlan: 0xe000 },
      { frame: frame(4, 13) },
    ]);
    expect(take()).toEqual([frame(3)]);
    for (const reason of ['adapterTruncated', 'vlan', 'runt'] as const) {
      expect(counters.get(0, reason), reason).toBe(1);
    }
    expect(counters.get(0, 'receivedDatagrams')).toBe(4);
    expect(counters.cells[CELL.receivedBytes]).toBe(9000 + 64 + 64 + 13);
  });

  it('steps over what the kernel made room for and never wrote', () => {
    const { fill, take, status, counters } = world();
    // The bytes there look like a packet: they are an earlier one's.
    fill(0, [{ frame: frame(1) }, { frame: frame(2), status: 0 }, { frame: frame(3) }]);
    expect(take()).toEqual([frame(1), frame(3)]);
    expect(status(0)).toBe(KERNEL);
    fill(1, [{ frame: frame(4), status: 0 }]);
    fill(2, [{ frame: frame(5), status: 0x10 }]);
    expect(take()).toEqual([]);
    expect([status(1), status(2)]).toEqual([KERNEL, KERNEL]);
    expect(counters.get(0, 'receivedDatagrams')).toBe(2);
  });

  it.each<[string, Partial<Packet>]>([
    ['a frame offset beyond the block', { mac: 4090 }],
    ['a frame offset inside the packet header', { mac: 40 }],
    ['an odd frame offset', { mac: 95 }],
    ['a next packet beyond the block', { next: 5000 }],
    ['a next packet that lies askew', { next: 161 }],
    ['a next packet before this one', { next: -8 }],
  ])('gives a block up at %s', (_, lie) => {
    const { fill, take, status } = world();
    fill(0, [{ frame: frame(1), ...lie }, { frame: frame(2) }]);
    fill(1, [{ frame: frame(3) }]);
    const frames = take();
    expect(frames.at(-1)).toEqual(frame(3));
    expect(frames).not.toContainEqual(frame(2));
    expect(status(0)).toBe(KERNEL);
  });

  it('is not led out of a block by its header', () => {
    const { fill, take, view, status } = world();
    for (const first of [0, 7, 4095, 100_000, 0x7fffffff]) {
      const block = [0, 7, 4095, 100_000, 0x7fffffff].indexOf(first) % BLOCKS;
      fill(block, [{ frame: frame(1) }]);
      view.setUint32(block * BLOCK_BYTES + BLOCK.firstPacket, first, true);
      expect(take()).toEqual([]);
      expect(status(block)).toBe(KERNEL);
    }
  });
});
