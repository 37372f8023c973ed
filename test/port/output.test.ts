/** What a turn has no room for stays in the output ring, whatever its format, and comes with the next one, in order. */
import { describe, expect, test } from 'vitest';
import { CELLS } from '../../src/counters.ts';
import type { Native } from '../../src/native.ts';
import { gatherOutput } from '../../src/port/output.ts';
import { gatherPacked } from '../../src/port/packed-output.ts';
import { plainGather } from '../../src/port/plain.ts';
import { plainGatherPacked } from '../../src/port/plain-packed.ts';
import { BaseStorage } from '../../src/storage/base-storage.ts';
import { CopyList } from '../../src/storage/copy-list.ts';
import { Chain } from '../../src/virtio/chain.ts';
import { GuestMemory } from '../../src/virtio/guest-memory.ts';
import { PackedChain } from '../../src/virtio/packed-chain.ts';
import { barePackedQueue, bareSplitQueue, describeAt } from '../support/bare-queues.ts';

const SIZE = 16;
const NEXT = 1;
const AVAIL = 1 << 7;
const LENGTH = 112; // with a header of 12 bytes
const ARENA = 1 << 17;
const BUDGET = { datagrams: 256, descriptors: 512, bytes: 512 << 10, shift: 0 };

/** Base storage with so many slots, and a list of so many copies; `copied()`: where the bytes came from, in order. */
function world(slots: number, copyRows: number) {
  const offsets: number[] = [];
  const gatherCopies = (count: number) => {
    for (let row = 0; row < count; row++) offsets.push(copies.row(row).offset);
    return 0;
  };
  const native = { gatherCopies } as unknown as Native;
  const arena = new ArrayBuffer(ARENA + Chain.scratchBytes);
  const storage = new BaseStorage(arena, ARENA, slots);
  const copies = new CopyList(native, new ArrayBuffer(24 * copyRows));
  const memory = new GuestMemory(native);
  memory.add({ guest: 0, user: 0, bytes: 1 << 20, handle: 0 });
  const chain = new Chain(copies, arena, ARENA);
  const cells = new Float64Array(CELLS.length);
  const workspace = { storage, copies, chain, packedChain: new PackedChain(), cells };
  const port = { number: 0, firstCell: 0 };
  const attachment = { headerBytes: 12, memory };
  const plain = plainGather(storage, copies);
  const plainPacked = plainGatherPacked(storage, copies);
  /** What one turn takes. */
  const turn = (queue: ReturnType<typeof queueOf>) => {
    storage.clear();
    const taken =
      queue.format === 'split'
        ? gatherOutput(queue, port, attachment, BUDGET, workspace, plain)
        : gatherPacked(queue, port, attachment, BUDGET, workspace, plainPacked);
    copies.gather();
    expect(storage.count).toBe(taken);
    return taken;
  };
  return { turn, copied: () => offsets };
}

/** A ring with four datagrams of so many buffers each, which lie in page 0, 1, and so on. */
function queueOf(format: string, buffers: number) {
  const queue = format === 'split' ? bareSplitQueue(SIZE, 4) : barePackedQueue(SIZE);
  for (let index = 0; index < 4 * buffers; index++) {
    const more = index % buffers < buffers - 1 ? NEXT : 0;
    const last = format === 'split' ? more | ((index + 1) << 16) : index | ((more | AVAIL) << 16);
    describeAt(queue, index, 4096 * index, LENGTH, last);
  }
  if (queue.format === 'split')
    for (let index = 0; index < 4; index++) queue.avail[2 + index] = index * buffers;
  return queue;
}

const pages = (count: number) => Array.from({ length: count }, (_, index) => 4096 * index);

describe.each(['split', 'packed'])('a %s ring', (format) => {
  test.each([1, 2])('base storage is full, datagrams of %i buffers', (buffers) => {
    const { turn, copied } = world(3, 64);
    const queue = queueOf(format, buffers);
    expect([turn(queue), turn(queue), turn(queue)]).toEqual([3, 1, 0]);
    expect(copied()).toEqual(pages(4 * buffers));
  });

  test.each([1, 2])('the copy list is full, datagrams of %i buffers', (buffers) => {
    const { turn, copied } = world(64, 3);
    const queue = queueOf(format, buffers);
    expect(turn(queue)).toBe(4);
    expect(copied()).toEqual(pages(4 * buffers));
  });
});
