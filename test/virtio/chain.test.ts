/** A chain's buffers as copies: few rows where buffers lie one behind the other, and the region of the last one is remembered. */
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { native } from '../../src/native.ts';
import { CopyList } from '../../src/storage/copy-list.ts';
import { Chain } from '../../src/virtio/chain.ts';
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
