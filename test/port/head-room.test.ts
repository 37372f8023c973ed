/** What is known of the buffers at the head of an input ring is known of those buffers only, not of what is there one lap later. */
import { expect, test } from 'vitest';
import { CELLS } from '../../src/counters.ts';
import type { Native } from '../../src/native.ts';
import { putInput } from '../../src/port/input.ts';
import { putPacked } from '../../src/port/packed-input.ts';
import { BaseStorage } from '../../src/storage/base-storage.ts';
import { CopyList } from '../../src/storage/copy-list.ts';
import { Chain } from '../../src/virtio/chain.ts';
import { GuestMemory } from '../../src/virtio/guest-memory.ts';
import { PackedChain } from '../../src/virtio/packed-chain.ts';
import { barePackedQueue, bareSplitQueue, describeAt } from '../support/bare-queues.ts';

const PLACE = 4096;
const NEXT = 1;
const WRITE = 2;
const AVAIL = 1 << 7;
const USED = 1 << 15;
const SMALL = 200;
const LARGE = 1526;
/** Copies nothing: where a datagram finds room is what counts here. */
const native = { gatherCopies: () => 0, deliverCopies: () => 0 } as unknown as Native;

function world() {
  const arena = new ArrayBuffer(1 << 20);
  const storage = new BaseStorage(arena, 1 << 19, 64);
  const copies = new CopyList(native, new ArrayBuffer(24 * 4096));
  const memory = new GuestMemory(native);
  memory.add({ guest: 0, user: 0, bytes: 1 << 30, handle: 0 });
  const at = storage.at[storage.take(0, 1514)];
  const chain = new Chain(copies, arena, 1 << 19);
  const cells = new Float64Array(CELLS.length);
  return { storage, copies, memory, at, chain, cells };
}

test('packed: larger buffers at the same place, one lap later, are used', () => {
  const { storage, copies, memory, at, chain, cells } = world();
  const packedChain = new PackedChain();
  const queue = barePackedQueue(2);
  const put = (bytes: number): number =>
    putPacked(queue, 0, 12, false, memory, storage, at, bytes, copies, chain, packedChain, cells);
  const offer = (length: number, flag: number): void => {
    for (const index of [0, 1])
      describeAt(queue, index, PLACE, length, index | ((WRITE | flag) << 16));
  };
  offer(SMALL, AVAIL);
  expect(CELLS[put(1000)]).toBe('inputTooSmall');
  expect([put(100), put(100)]).toEqual([0, 0]);
  queue.show();
  offer(LARGE, USED);
  expect(put(1000)).toBe(0);
});

test('split: larger buffers where the index comes round to the same value are used', () => {
  const { storage, copies, memory, at, chain, cells } = world();
  const queue = bareSplitQueue(2, 2);
  const put = (bytes: number): number =>
    putInput(queue, 0, 12, false, memory, storage, at, bytes, copies, chain, cells);
  describeAt(queue, 0, PLACE, SMALL, WRITE);
  expect(CELLS[put(1000)]).toBe('inputTooSmall');
  for (let count = 0; count < 0x10000; count++) {
    if (put(100) !== 0) throw new Error(`datagram ${count} found no buffer`);
    copies.deliver();
    queue.show();
    queue.avail[1]++;
  }
  // Of two descriptors: those of one are found without what is known.
  describeAt(queue, 0, PLACE, 12, WRITE | NEXT | (1 << 16));
  describeAt(queue, 1, PLACE + 12, LARGE - 12, WRITE);
  expect(queue.nextAvail, 'the same index').toBe(0);
  expect(put(1000)).toBe(0);
});
