/** Frames that are taken out of a block while the kernel is still filling it. */
import { describe, expect, it } from 'vitest';
import { BLOCK, PACKET } from '../../src/adapter/packet-layout.ts';
import { BLOCK_BYTES, BLOCKS, receiveBlocks } from '../support/receive-blocks.ts';
import { LONG, seeded } from '../support/random.ts';

const frame = (mark: number, length = 64) => Buffer.alloc(length, mark);
const USER = 1;
const KERNEL = 0;

/** Whether a block is as packetOpen left it. */
const isBlank = (bytes: Uint8Array, block: number) =>
  bytes
    .subarray(block * BLOCK_BYTES + BLOCK.headerBytes, (block + 1) * BLOCK_BYTES)
    .every((byte) => byte === 0xff);

describe('receive ring, ahead of its block', () => {
  it('takes a frame at once, and gives the block back blank', () => {
    const { ring, kernel, take, status, bytes } = receiveBlocks();
    expect(ring.hasWork()).toBe(false);
    kernel.put({ frame: frame(1) });
    expect(ring.hasWork()).toBe(true);
    expect(take()).toEqual([frame(1)]);
    expect(ring.hasWork()).toBe(false);
    kernel.put({ frame: frame(2) });
    kernel.put({ frame: frame(3, 333) });
    expect(take()).toEqual([frame(2), frame(3, 333)]);
    kernel.retire();
    expect(status(0) & USER).toBe(USER);
    expect(ring.hasWork(), 'a block to give back').toBe(true);
    expect(take()).toEqual([]);
    expect(status(0)).toBe(KERNEL);
    expect(isBlank(bytes, 0)).toBe(true);
    expect(ring.hasWork()).toBe(false);
    kernel.put({ frame: frame(4) });
    expect(take()).toEqual([frame(4)]);
  });

  it.each<[string, (view: DataView, at: number) => void]>([
    ['status', (view, at) => view.setUint32(at + PACKET.status, 0, true)],
    ['status, not begun', (view, at) => view.setUint32(at + PACKET.status, 0xffffffff, true)],
    ['length', (view, at) => view.setUint32(at + PACKET.length, 0xffffffff, true)],
    ['captured', (view, at) => view.setUint32(at + PACKET.capturedLength, 0xffffffff, true)],
    ['offset', (view, at) => view.setUint16(at + PACKET.mac, 0xffff, true)],
    ['type', (view, at) => view.setUint8(at + PACKET.type, 0xff)],
    ['interface', (view, at) => view.setUint32(at + PACKET.interfaceIndex, 0xffffffff, true)],
  ])('waits for every field of a packet: %s', (_, unwrite) => {
    const { ring, kernel, take, view, bytes } = receiveBlocks();
    const { at, finish } = kernel.begin(64)!;
    expect(ring.hasWork(), 'only begun').toBe(false);
    finish({ frame: frame(1) });
    const written = bytes.slice();
    unwrite(view, at);
    expect(ring.hasWork()).toBe(false);
    expect(take()).toEqual([]);
    bytes.set(written);
    expect(take()).toEqual([frame(1)]);
  });

  it('does not overtake a packet that is still being written', () => {
    const { kernel, take } = receiveBlocks();
    const first = kernel.begin(100)!;
    kernel.put({ frame: frame(2) });
    expect(take()).toEqual([]);
    first.finish({ frame: frame(1, 100) });
    expect(take()).toEqual([frame(1, 100), frame(2)]);
  });

  it('goes on where it was when the block is handed over', () => {
    const { kernel, take, status } = receiveBlocks();
    kernel.put({ frame: frame(1) });
    kernel.put({ frame: frame(2) });
    expect(take()).toEqual([frame(1), frame(2)]);
    for (const mark of [3, 4, 5]) kernel.put({ frame: frame(mark) });
    kernel.retire();
    kernel.put({ frame: frame(6) });
    expect(take(2)).toEqual([frame(3), frame(4)]);
    expect(status(0) & USER).toBe(USER);
    expect(take()).toEqual([frame(5), frame(6)]);
    expect(status(0)).toBe(KERNEL);
  });

  it('waits for the block behind what the kernel will never write, then steps over it', () => {
    const { ring, kernel, take } = receiveBlocks();
    kernel.put({ frame: frame(1) });
    kernel.begin(64);
    kernel.put({ frame: frame(3) });
    expect(take()).toEqual([frame(1)]);
    expect(ring.hasWork()).toBe(false);
    kernel.retire();
    expect(take()).toEqual([frame(3)]);
  });

  it('finds no packet in a block that came full, until it came in time once more', () => {
    const { ring, kernel, take, status, bytes } = receiveBlocks();
    while (kernel.block === 0) kernel.put({ frame: frame(1, 1000) });
    expect(take()).toHaveLength(4); // three, and the one that did not fit
    expect(status(0)).toBe(KERNEL);
    expect(isBlank(bytes, 0)).toBe(false);
    for (let block = 1; block < BLOCKS; block++) {
      kernel.put({ frame: frame(block) });
      kernel.retire();
      take();
    }
    kernel.put({ frame: frame(7) });
    expect(ring.hasWork(), 'old bytes look like packets').toBe(false);
    kernel.retire();
    expect(take()).toEqual([frame(7)]);
    expect(isBlank(bytes, 0)).toBe(true);
  });

  it.each([
    ['beyond the block', { mac: 4090 }],
    ['inside the packet header', { mac: 40 }],
    ['odd', { mac: 95 }],
  ])('reads nothing more in a block with a frame offset %s', (_, lie) => {
    const { ring, kernel, take, status } = receiveBlocks();
    kernel.put({ frame: frame(1), ...lie });
    kernel.put({ frame: frame(2) });
    expect(take()).toEqual([]);
    expect(ring.hasWork()).toBe(false);
    expect(status(0), 'it is the kernel’s').toBe(KERNEL);
    kernel.retire();
    kernel.put({ frame: frame(3) });
    expect(take()).toEqual([frame(3)]);
    expect(status(0)).toBe(KERNEL);
  });

  it('never reads beyond a block, whatever the next packet’s offset', () => {
    for (const next of [0, -8, 7, 4096, 100_000, 0x7fffffff]) {
      const { ring, kernel, take, view } = receiveBlocks();
      kernel.put({ frame: frame(1) });
      view.setInt32(BLOCK.headerBytes + PACKET.nextOffset, next, true);
      expect(take()).toEqual([frame(1)]);
      expect(ring.hasWork()).toBe(false);
      kernel.retire();
      kernel.put({ frame: frame(2) });
      expect(take()).toEqual([frame(2)]);
    }
  });

  it('takes every frame once and in order, whatever is full, late or never written', () => {
    const random = seeded();
    for (let run = 0; run < (LONG ? 3000 : 50); run++) {
      const { kernel, take } = receiveBlocks(16, 8);
      const sent: Buffer[] = [];
      const got: Buffer[] = [];
      let pending: (() => void)[] = [];
      const settle = () => {
        for (const finish of pending) finish();
        pending = [];
      };
      for (let step = 0; step < 400; step++) {
        const what = random.below(10);
        const bytes = frame(step & 0xff, 14 + random.below(900));
        // No block is handed over while a packet in it is being written.
        if (what > 4 || kernel.room < 1100) settle();
        if (what < 5) {
          const room = kernel.begin(bytes.length);
          if (room !== null) {
            sent.push(bytes);
            pending.push(() => room.finish({ frame: bytes }));
          }
          if (random.chance(0.7)) settle();
          else got.push(...take(random.between(1, 6), random.between(1, 3000)));
        } else if (what === 5) kernel.begin(bytes.length);
        else if (what === 6) kernel.retire();
        else got.push(...take(random.between(1, 6), random.between(1, 3000)));
        kernel.thaw();
      }
      settle();
      for (let rest = 0; rest < 20; rest++) {
        kernel.retire();
        got.push(...take());
        kernel.thaw();
      }
      expect(got.map(({ length }) => length)).toEqual(sent.map(({ length }) => length));
      expect(Buffer.concat(got).equals(Buffer.concat(sent))).toBe(true);
    }
  });
});
