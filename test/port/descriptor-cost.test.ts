/** What one datagram, or one turn of one ring, may make the base read: counted in descriptors and bytes, not in time. */
import { describe, expect, test } from 'vitest';
import { CELLS } from '../../src/counters.ts';
import { native } from '../../src/native.ts';
import { FULL, MAX_STEPS, MAX_STEPS_PER_TURN, putInput } from '../../src/port/input.ts';
import { gatherOutput } from '../../src/port/output.ts';
import { putPacked } from '../../src/port/packed-input.ts';
import { discardPacked, gatherPacked } from '../../src/port/packed-output.ts';
import { plainGather } from '../../src/port/plain.ts';
import { BaseStorage } from '../../src/storage/base-storage.ts';
import { CopyList } from '../../src/storage/copy-list.ts';
import { Chain } from '../../src/virtio/chain.ts';
import { GuestMemory } from '../../src/virtio/guest-memory.ts';
import { PackedChain } from '../../src/virtio/packed-chain.ts';
import { barePackedQueue, bareSplitQueue, describeAt } from '../support/bare-queues.ts';

const NEXT = 1;
const WRITE = 2;
const INDIRECT = 4;
const AVAIL = 1 << 7;
const BYTES = 8 << 20;
const ARENA = 4 << 20;
const TABLE = 1 << 20;
const LONGEST_TABLE = 65_536;
const DESCRIPTOR = 16;
const BUDGET = { datagrams: 256, descriptors: 512, bytes: 512 << 10, shift: 1 };

const { arena, rows } = native.createArena(8 << 20, 32_768);
const handle = native.mapRegion(native.memfd('descriptor-cost', BYTES, true), 0, BYTES);
const guest = new Int32Array(native.viewRegion(handle, 0, BYTES));

const SENDER = { number: 0, firstCell: 0 };

/** Base storage and a guest's memory, empty; `fetched()`: bytes of indirect tables that were read. */
function world() {
  guest.fill(0);
  const storage = new BaseStorage(arena, ARENA, 8192);
  const copies = new CopyList(native, rows);
  let fetched = 0;
  const fetch = copies.fetch.bind(copies);
  copies.fetch = (region, offset, at, length) => {
    fetched += length;
    fetch(region, offset, at, length);
  };
  const memory = new GuestMemory(native);
  memory.add({ guest: 0, user: 0, bytes: BYTES, handle });
  const chain = new Chain(copies, arena, ARENA);
  const cells = new Float64Array(CELLS.length);
  const workspace = { storage, copies, chain, packedChain: new PackedChain(), cells };
  const attachment = { headerBytes: 12, mergeable: true, memory };
  return { workspace, attachment, storage, fetched: () => fetched };
}

describe.each([256, 1024, 4096])('a ring of %i', (size) => {
  test('input: tables as long as the ring, of which one entry is used', () => {
    const { workspace, attachment, storage, fetched } = world();
    const queue = bareSplitQueue(size, size - 1);
    queue.indirect = true;
    const header = TABLE + LONGEST_TABLE;
    guest.set([4096, 0, 1, WRITE], TABLE / 4);
    guest.set([4096, 0, 12, WRITE], header / 4);
    describeAt(queue, 0, header, DESCRIPTOR, INDIRECT);
    describeAt(queue, 1, TABLE, size * DESCRIPTOR, INDIRECT);
    for (let entry = 1; entry < size; entry++) queue.avail[2 + entry] = 1;
    const at = storage.at[storage.take(0, 9000)];
    putInput(queue, 0, attachment, at, 9000, workspace);
    expect(fetched()).toBeLessThanOrEqual(MAX_STEPS * DESCRIPTOR + LONGEST_TABLE);
  });

  test('output: tables as long as the ring, of which one entry is used', () => {
    const { workspace, attachment, storage, fetched } = world();
    const queue = bareSplitQueue(size, size - 1);
    queue.indirect = true;
    guest.set([4096, 0, 100, 0], TABLE / 4);
    describeAt(queue, 0, TABLE, size * DESCRIPTOR, INDIRECT);
    const plain = plainGather(storage, workspace.copies);
    gatherOutput(queue, SENDER, attachment, BUDGET, workspace, plain);
    expect(fetched()).toBeLessThanOrEqual(BUDGET.descriptors * DESCRIPTOR + LONGEST_TABLE);
  });

  test('packed output: tables as long as the ring, of which one entry is used', () => {
    const { workspace, attachment, fetched } = world();
    const queue = barePackedQueue(size);
    queue.indirect = true;
    guest.set([4096, 0, 100, 0], TABLE / 4);
    for (let index = 0; index < size; index++)
      describeAt(queue, index, TABLE, size * DESCRIPTOR, index | ((INDIRECT | AVAIL) << 16));
    gatherPacked(queue, SENDER, attachment, BUDGET, workspace, () => 0);
    expect(fetched()).toBeLessThanOrEqual(BUDGET.descriptors * DESCRIPTOR + LONGEST_TABLE);
  });

  test('a packed ring that is disabled: long tables', () => {
    const { workspace, attachment } = world();
    const queue = barePackedQueue(size);
    queue.indirect = true;
    for (let index = 0; index < size; index++) {
      describeAt(queue, index, TABLE, size * DESCRIPTOR, index | ((INDIRECT | AVAIL) << 16));
      guest.set([4096 + 64 * index, 0, 1, 0], TABLE / 4 + 4 * index);
    }
    discardPacked(queue, 0, attachment.memory, BUDGET, workspace);
    expect(queue.walked).toBeLessThanOrEqual(BUDGET.descriptors + size);
  });

  test('packed input: tables that end outside memory', () => {
    const { workspace, attachment, storage, fetched } = world();
    const queue = barePackedQueue(size);
    queue.indirect = true;
    const table = BYTES - (size - 1) * DESCRIPTOR;
    for (let index = 0; index < size - 1; index++) {
      const flags = (WRITE | INDIRECT | AVAIL) << 16;
      describeAt(queue, index, table, size * DESCRIPTOR, index | flags);
    }
    const at = storage.at[storage.take(0, 1514)];
    putPacked(queue, 0, attachment, at, 1514, workspace);
    expect(fetched()).toBeLessThanOrEqual(MAX_STEPS * DESCRIPTOR + LONGEST_TABLE);
  });

  test('input, a turn of many datagrams: long chains of nothing before one buffer', () => {
    const { workspace, attachment, storage } = world();
    const queue = bareSplitQueue(size, size);
    for (let index = 0; index < size - 1; index++)
      describeAt(queue, index, 4096, 0, NEXT | WRITE | ((index + 1) << 16));
    describeAt(queue, size - 1, 4096, 2048, WRITE);
    const at = storage.at[storage.take(0, 64)];
    const put = () => putInput(queue, 0, attachment, at, 64, workspace);
    let done = 0;
    while (put() === 0) done++;
    expect(done * size).toBeLessThanOrEqual(MAX_STEPS_PER_TURN + MAX_STEPS);
    // The next turn goes on, unless all buffers are used.
    queue.show();
    expect(put()).toBe(done === size ? FULL : 0);
  });
});
