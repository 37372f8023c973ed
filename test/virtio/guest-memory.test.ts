/** Where a front-end's addresses lie, to the byte. Nothing is mapped: only places are looked up. */
import { expect, test } from 'vitest';
import { native } from '../../src/native.ts';
import { GuestMemory, overlap } from '../../src/virtio/guest-memory.ts';

const BYTES = 4096;
const USER = 0x7000_0000;

/** Two regions with a gap between them, whose user addresses are the other way round. */
function memory(): GuestMemory {
  const memory = new GuestMemory(native);
  memory.add({ guest: 2 * BYTES, user: USER, bytes: BYTES, handle: 1 });
  memory.add({ guest: 0, user: USER + 2 * BYTES, bytes: BYTES, handle: 2 });
  return memory;
}

test('a guest address is found to the last byte of its region', () => {
  const { handles } = memory();
  const find = (address: number, length: number) => handles[memory().find(address, length)] ?? 0;
  expect(find(0, BYTES)).toBe(2);
  expect(find(1, BYTES)).toBe(0);
  expect(find(BYTES - 1, 1)).toBe(2);
  expect(find(BYTES, 1)).toBe(0);
  expect(find(2 * BYTES - 1, 1)).toBe(0);
  expect(find(3 * BYTES - 8, 8)).toBe(1);
  expect(find(3 * BYTES - 8, 9)).toBe(0);
});

test('so is a user address', () => {
  const find = (address: number, length: number) => {
    const found = memory().fromUser(address, length);
    return found && [found.region.handle, found.offset];
  };
  expect(find(USER, BYTES)).toEqual([1, 0]);
  expect(find(USER + 8, BYTES - 8)).toEqual([1, 8]);
  expect(find(USER + 8, BYTES - 7)).toBeUndefined();
  expect(find(USER - 1, 1)).toBeUndefined();
  expect(find(USER + 2 * BYTES - 1, 1)).toBeUndefined();
  expect(find(USER + 2 * BYTES, 1)).toEqual([2, 0]);
});

test('regions overlap by their guest addresses or by their user addresses, and not where they touch', () => {
  const at = (guest: number, user: number) => ({ guest, user, bytes: BYTES });
  const one = at(BYTES, USER);
  expect(overlap(one, at(2 * BYTES, USER + BYTES))).toBe(false);
  expect(overlap(one, at(0, USER - BYTES))).toBe(false);
  expect(overlap(one, at(2 * BYTES - 1, 0))).toBe(true);
  expect(overlap(one, at(1, 0))).toBe(true);
  expect(overlap(one, at(4 * BYTES, USER + BYTES - 1))).toBe(true);
  expect(overlap(one, at(4 * BYTES, USER - BYTES + 1))).toBe(true);
});
