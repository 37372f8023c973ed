/**
 * Chains of a packed ring: which way the buffers of an indirect table go (virtio 1.3 §2.8.7), where a table may stand, and where a chain ends.
 */
import { afterAll, expect, test } from 'vitest';
import { CELLS } from '../../src/counters.ts';
import { native } from '../../src/native.ts';
import { CopyList } from '../../src/storage/copy-list.ts';
import { Chain } from '../../src/virtio/chain.ts';
import { GuestMemory } from '../../src/virtio/guest-memory.ts';
import { ENDLESS, PackedChain } from '../../src/virtio/packed-chain.ts';
import { barePackedQueue, describeAt } from '../support/bare-queues.ts';

const BYTES = 8192;
const TABLE = 4096;
const R = 0;
const NEXT = 1;
const W = 2;
const INDIRECT = 4;
const AVAIL = 1 << 7;
const USED = 1 << 15;

const { arena, rows } = native.createArena(1 << 20, 64);
const chain = new Chain(new CopyList(native, rows), arena, (1 << 20) - Chain.scratchBytes);
const memory = new GuestMemory(native);
const fd = native.memfd('packed chain', BYTES, true);
const handle = native.mapRegion(fd, 0, BYTES);
native.closeDescriptor(fd);
memory.add({ guest: 0, user: 0, bytes: BYTES, handle });
const words = new Int32Array(native.viewRegion(handle, 0, BYTES));
afterAll(() => memory.clear());

/** Takes a chain of one table with these entries: 'taken', or what is wrong with it. */
function take(entries: number[], writable: boolean): string {
  const queue = barePackedQueue(8);
  queue.indirect = true;
  for (const [index, flags] of entries.entries())
    words.set([64 * index, 0, 64, flags << 16], (TABLE + 16 * index) >> 2);
  describeAt(queue, 0, TABLE, 16 * entries.length, (INDIRECT | AVAIL) << 16);
  chain.begin();
  const fault = new PackedChain().take(queue, writable, chain, memory);
  if (fault !== 0) return CELLS[fault];
  expect(chain.total).toBe(64 * entries.length);
  return 'taken';
}

test.each<[string, number[], boolean, string]>([
  ['an output table', [R, R, R], false, 'taken'],
  // As DPDK's driver makes it: the virtio-net header comes first.
  ['an output table whose first entry is marked as writable', [W, R, R], false, 'taken'],
  ['an output table that is all writable', [W, W], false, 'chainBadDirection'],
  ['an output table of one writable entry', [W], false, 'chainBadDirection'],
  ['an output table with a writable entry in its midst', [R, W, R], false, 'chainBadOrder'],
  ['an input table', [W, W], true, 'taken'],
  ['an input table that begins with what is only readable', [R, W], true, 'chainBadDirection'],
  ['an input table that goes on with what is only readable', [W, R], true, 'chainBadOrder'],
])('%s: %j', (_, entries, writable, expected) => {
  expect(take(entries, writable)).toBe(expected);
});

/** Takes the chain that begins at `first` of a ring of `size`, made of descriptors of one byte with these flags. */
function takeDirect(size: number, first: number, flags: number[], writable = false) {
  const queue = barePackedQueue(size);
  queue.indirect = true;
  queue.nextAvail = first;
  for (const [index, own] of flags.entries()) {
    const place = first + index;
    // In the next lap the bits stand the other way round.
    const lap = place < size ? AVAIL : USED;
    describeAt(queue, place % size, index, own & INDIRECT ? 16 : 1, 7 | ((own | lap) << 16));
  }
  chain.begin();
  const packed = new PackedChain();
  const fault = packed.take(queue, writable, chain, memory);
  const outcome = fault > 0 ? CELLS[fault] : fault;
  return { outcome, queue, packed };
}

test('a chain goes on at the front of the ring, in the next lap', () => {
  const { outcome, queue, packed } = takeDirect(8, 6, [NEXT, NEXT, NEXT, R]);
  expect(outcome).toBe(0);
  expect([packed.id, packed.count, chain.buffers]).toEqual([7, 4, 4]);
  expect([queue.nextAvail, queue.availWrap]).toEqual([2, 0]);
});

test('a chain may be as long as the ring, and ends with the lap', () => {
  const { outcome, queue, packed } = takeDirect(8, 0, [
    NEXT,
    NEXT,
    NEXT,
    NEXT,
    NEXT,
    NEXT,
    NEXT,
    R,
  ]);
  expect([outcome, packed.count]).toEqual([0, 8]);
  expect([queue.nextAvail, queue.availWrap]).toEqual([0, 0]);
});

test('a chain of more descriptors than anybody needs has no end', () => {
  const long = (count: number) => [...Array<number>(count - 1).fill(NEXT), R];
  expect(takeDirect(8192, 0, long(4096)).outcome).toBe(0);
  const { outcome, queue } = takeDirect(8192, 0, long(4097));
  expect(outcome).toBe(ENDLESS);
  expect(queue.broken).toBe('a chain is longer than the ring');
});

test('a table stands alone', () => {
  expect(takeDirect(8, 0, [NEXT, INDIRECT]).outcome).toBe('chainBadIndirect');
  expect(takeDirect(8, 0, [NEXT | INDIRECT, R]).outcome).toBe('chainBadIndirect');
});

test('outside of a table the first buffer goes the way that it says', () => {
  expect(takeDirect(8, 0, [NEXT | W, R]).outcome).toBe('chainBadOrder');
  expect(takeDirect(8, 0, [NEXT | W, W]).outcome).toBe('chainBadDirection');
});
