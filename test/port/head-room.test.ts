/** What is known of the buffers at the head of an input ring is known of those buffers only, not of what is there one lap later. */
import { expect, test } from 'vitest';
import { CELLS } from '../../src/counters.ts';
import { barePackedQueue, bareSplitQueue, describeAt } from '../support/bare-queues.ts';
import { inputWorld } from '../support/input-world.ts';

const PLACE = 4096;
const NEXT = 1;
const WRITE = 2;
const AVAIL = 1 << 7;
const USED = 1 << 15;
const SMALL = 200;
const LARGE = 1526;

test('packed: larger buffers at the same place, one lap later, are used', () => {
  const world = inputWorld();
  const queue = barePackedQueue(2);
  const put = (bytes: number): number => world.put(queue, bytes);
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
  const world = inputWorld();
  const queue = bareSplitQueue(2, 2);
  const put = (bytes: number): number => world.put(queue, bytes);
  describeAt(queue, 0, PLACE, SMALL, WRITE);
  expect(CELLS[put(1000)]).toBe('inputTooSmall');
  for (let count = 0; count < 0x10000; count++) {
    if (put(100) !== 0) throw new Error(`datagram ${count} found no buffer`);
    world.copies.deliver();
    queue.show();
    queue.avail[1]++;
  }
  // Of two descriptors: those of one are found without what is known.
  describeAt(queue, 0, PLACE, 12, WRITE | NEXT | (1 << 16));
  describeAt(queue, 1, PLACE + 12, LARGE - 12, WRITE);
  expect(queue.nextAvail, 'the same index').toBe(0);
  expect(put(1000)).toBe(0);
});
