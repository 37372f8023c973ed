/** The receive ring over blocks laid out as tpacket_rcv does, with all that a veth pair can't be made to bring. */
import { describe, expect, it } from 'vitest';
import { BLOCK } from '../../src/adapter/packet-layout.ts';
import { CELL } from '../../src/counters.ts';
import { BLOCK_BYTES, BLOCKS, type Packet, receiveBlocks } from '../support/receive-blocks.ts';
import { headerOf } from '../support/slots.ts';

const frame = (mark: number, length = 64) => Buffer.alloc(length, mark);
const USER = 1;
const KERNEL = 0;

describe('receive ring', () => {
  it('takes frames with their headers and hands the block back', () => {
    const { ring, fill, take, status, storage, counters } = receiveBlocks();
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
    const { fill, take } = receiveBlocks();
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
    const { fill, take, status, ring } = receiveBlocks();
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
    const { fill, take, status } = receiveBlocks(2);
    fill(
      0,
      [1, 2, 3].map((mark) => ({ frame: frame(mark) })),
    );
    expect(take()).toEqual([frame(1), frame(2)]);
    expect(status(0)).toBe(USER);
    expect(take()).toEqual([frame(3)]);
  });

  it('carries a full copy list out', () => {
    const { fill, take } = receiveBlocks(64, 2);
    fill(
      0,
      [1, 2, 3, 4, 5].map((mark) => ({ frame: frame(mark) })),
    );
    expect(take()).toEqual([1, 2, 3, 4, 5].map((mark) => frame(mark)));
  });

  it('counts what is cut off, tagged, too short or too long', () => {
    const { fill, take, counters } = receiveBlocks();
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
    const { fill, take, status, counters } = receiveBlocks();
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
    const { fill, take, status } = receiveBlocks();
    fill(0, [{ frame: frame(1), ...lie }, { frame: frame(2) }]);
    fill(1, [{ frame: frame(3) }]);
    const frames = take();
    expect(frames.at(-1)).toEqual(frame(3));
    expect(frames).not.toContainEqual(frame(2));
    expect(status(0)).toBe(KERNEL);
  });

  it('is not led out of a block by its header', () => {
    const { fill, take, view, status } = receiveBlocks();
    for (const first of [0, 7, 4095, 100_000, 0x7fffffff]) {
      const block = [0, 7, 4095, 100_000, 0x7fffffff].indexOf(first) % BLOCKS;
      fill(block, [{ frame: frame(1) }]);
      view.setUint32(block * BLOCK_BYTES + BLOCK.firstPacket, first, true);
      expect(take()).toEqual([]);
      expect(status(block)).toBe(KERNEL);
    }
  });
});
