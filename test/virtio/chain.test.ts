/** A chain's buffers as copies: few rows where buffers lie one behind the other, and the region of the last one is remembered. */
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { CELLS } from '../../src/counters.ts';
import { native } from '../../src/native.ts';
import { CopyList } from '../../src/storage/copy-list.ts';
import { Chain, DESC_F_INDIRECT, DESC_F_NEXT, DESC_F_WRITE } from '../../src/virtio/chain.ts';
import { GuestMemory } from '../../src/virtio/guest-memory.ts';

const BYTES = 8192;
const HIGH = 0x1_0000_0000;

const { arena, rows } = native.createArena(1 << 20, 4096);
const copies = new CopyList(native, rows);
const chain = new Chain(copies, arena, (1 << 20) - Chain.scratchBytes);
const own = Buffer.from(arena);
const memory = new GuestMemory(native);
let bytes: Buffer[];

function region(guest: number): Buffer {
  const fd = native.memfd('chain', BYTES, true);
  const handle = native.mapRegion(fd, 0, BYTES);
  native.closeDescriptor(fd);
  memory.add({ guest, user: guest, bytes: BYTES, handle });
  return Buffer.from(native.viewRegion(handle, 0, BYTES));
}

beforeAll(() => {
  // The second begins where the first ends.
  bytes = [region(0), region(BYTES), region(HIGH)];
  for (const [index, view] of bytes.entries())
    for (let at = 0; at < BYTES; at++) view[at] = (at * (index + 3)) & 0xff;
});
afterAll(() => memory.clear());
beforeEach(() => {
  chain.begin();
  own.fill(0);
});

/** The chain's first `most` bytes are copied; in how many rows. */
function copy(buffers: [address: number, length: number][], most: number): number {
  for (const [address, length] of buffers) expect(chain.addBuffer(address, length, memory)).toBe(0);
  chain.addCopies(64, most);
  const { count } = copies;
  copies.gather();
  expect(copies.refused).toBe(0);
  const all = buffers.map(([address, length]) => {
    const parts = [];
    for (let at = address; at < address + length; at++) {
      const index = at >= HIGH ? 2 : at >= BYTES ? 1 : 0;
      parts.push(bytes[index][at - memory.starts[index]]);
    }
    return Buffer.from(parts);
  });
  const expected = Buffer.concat(all).subarray(0, most);
  expect(own.subarray(64, 64 + most).equals(expected)).toBe(true);
  expect(own.subarray(64 + most).every((byte) => byte === 0)).toBe(true);
  return count;
}

test('buffers one behind the other are one copy, however many there are', () => {
  const ones = Array.from({ length: 76 }, (_, index): [number, number] => [100 + index, 1]);
  expect(copy(ones, 76)).toBe(1);
});

test('no more is copied than was asked for', () => {
  expect(
    copy(
      [
        [0, 10],
        [10, 10],
        [20, 10],
      ],
      15,
    ),
  ).toBe(1);
});

test('a gap, a step back and another region are copies of their own', () => {
  expect(
    copy(
      [
        [0, 10],
        [11, 10],
        [5, 16],
        [HIGH, 8],
        [HIGH + 8, 8],
        [21, 4],
      ],
      56,
    ),
  ).toBe(5);
});

test('what would lie one behind the other, were it one region, is two copies', () => {
  expect(
    copy(
      [
        [0, 10],
        [BYTES + 10, 10],
      ],
      20,
    ),
  ).toBe(2);
});

test('when the copy list is full, what is listed is carried out first', () => {
  copies.add(memory.handles[0], 0, 0, 1);
  const everySecond = Array.from({ length: 4096 }, (_, index): [number, number] => [2 * index, 1]);
  expect(copy(everySecond, 4096)).toBe(1);
});

test('a buffer that goes on in the next region is two copies', () => {
  expect(copy([[BYTES - 10, 30]], 30)).toBe(2);
});

test('where the last buffer was is looked first, and what is not there is found all the same', () => {
  expect(chain.addBuffer(HIGH, 8, memory)).toBe(0);
  expect(memory.last).toBe(2);
  expect(chain.addBuffer(16, 8, memory)).toBe(0);
  expect(memory.last).toBe(0);
  expect(memory.holding(2 * BYTES)).toBe(-1);
  expect(memory.last).toBe(0);
});

type Descriptor = [address: number, length: number, flags: number, next: number];

/** Walks the chain at the first of so many descriptors: 'taken', or what is wrong with it. */
function walk(descriptors: Descriptor[], size: number, indirect = true): string {
  const table = new Int32Array(size * 4);
  table.set(wordsOf(descriptors));
  const fault = chain.walk(table, size, 0, false, indirect, memory);
  return fault === 0 ? 'taken' : CELLS[fault];
}

function wordsOf(descriptors: Descriptor[]): number[] {
  return descriptors.flatMap(([address, length, flags, next]) => [
    address,
    0,
    length,
    flags | (next << 16),
  ]);
}

/** So many buffers of one byte, each naming the next. */
const joined = (count: number): Descriptor[] =>
  Array.from({ length: count }, (_, index) => [
    index % BYTES,
    1,
    index < count - 1 ? DESC_F_NEXT : 0,
    index + 1,
  ]);

/** A walk that begins with an indirect table of these entries. */
function walkTable(entries: Descriptor[], size: number, flags = DESC_F_INDIRECT): string {
  const table = new Int32Array(bytes[2].buffer, bytes[2].byteOffset, BYTES / 4);
  const before = Int32Array.from(table);
  table.set(wordsOf(entries));
  const descriptors = new Int32Array(size * 4);
  // In the region above 4 GiB.
  descriptors.set([0, 1, entries.length * 16, flags | (1 << 16)]);
  const fault = chain.walk(descriptors, size, 0, false, true, memory);
  table.set(before);
  return fault === 0 ? 'taken' : CELLS[fault];
}

test('a chain may be as long as its table, and names no descriptor behind it', () => {
  expect(walk(joined(8), 8)).toBe('taken');
  expect(chain.buffers).toBe(8);
  expect(walk([[0, 1, DESC_F_NEXT, 8]], 8)).toBe('chainBadNext');
  expect(walk([[0, 1, DESC_F_NEXT, 0]], 8)).toBe('chainLoop');
});

test('an indirect table may be as long as the ring, and no longer', () => {
  expect(walkTable(joined(8), 8)).toBe('taken');
  expect(chain.buffers).toBe(8);
  expect(walkTable(joined(9), 8)).toBe('chainBadIndirect');
});

test('an indirect table only where negotiated, not in another and not before another', () => {
  // What is there would be a buffer outside of memory.
  expect(walk([[4, 16, DESC_F_INDIRECT, 0]], 8)).toBe('chainBadAddress');
  expect(walk([[4, 16, DESC_F_INDIRECT, 0]], 8, false)).toBe('chainBadIndirect');
  expect(walkTable([[4, 16, DESC_F_INDIRECT, 0]], 8)).toBe('chainBadIndirect');
  expect(walkTable(joined(1), 8, DESC_F_INDIRECT | DESC_F_NEXT)).toBe('chainBadIndirect');
});

test('what is readable does not come behind what is writable', () => {
  const mixed = (first: number, second: number): Descriptor[] => [
    [0, 1, first | DESC_F_NEXT, 1],
    [1, 1, second, 0],
  ];
  expect(walk(mixed(DESC_F_WRITE, 0), 8)).toBe('chainBadOrder');
  expect(walk(mixed(0, DESC_F_WRITE), 8)).toBe('chainBadDirection');
});

test('more buffers than anybody needs, or one of 2 GiB, are none', () => {
  expect(walk(joined(4096), 8192)).toBe('taken');
  chain.begin();
  expect(walk(joined(4097), 8192)).toBe('oversize');
  const large = new GuestMemory(native);
  large.add({ guest: 0, user: 0, bytes: 2 ** 32, handle: 0 }); // never mapped
  chain.begin();
  expect(chain.addBuffer(0, 2 ** 31 - 1, large)).toBe(0);
  expect(CELLS[chain.addBuffer(0, 2 ** 31, large)]).toBe('oversize');
});
