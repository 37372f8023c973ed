/** Input buffers of a split ring that are no use: what becomes of them, and of those before them. */
import { expect, test } from 'vitest';
import { CELL, CELLS } from '../../src/counters.ts';
import { BROKEN } from '../../src/virtio/virtqueue.ts';
import { bareSplitQueue, describeAt } from '../support/bare-queues.ts';
import { inputWorld } from '../support/input-world.ts';

const WRITE = 2;
const SIZE = 8;

/** A ring whose available buffers are its descriptors in order, of these lengths; those below 0 are not writable. */
function world(lengths: number[], mergeable: boolean) {
  const { buffers, cells, put } = inputWorld();
  const queue = bareSplitQueue(SIZE, lengths.length);
  for (const [index, length] of lengths.entries()) {
    queue.avail[2 + index] = index;
    describeAt(queue, index, 4096 * index, Math.abs(length), length < 0 ? 0 : WRITE);
  }
  return {
    queue,
    buffers,
    put: () => put(queue, 100, mergeable),
    /** [head, length] of what went back. */
    returned: () =>
      Array.from({ length: queue.nextUsed }, (_, index) => [
        ...queue.elements.subarray(2 * index, 2 * index + 2),
      ]),
    bad: () => cells[CELL.badInputChains],
  };
}

test.each([
  ['first', 0],
  ['second', 1],
])(
  'a %s head that names a descriptor behind the table breaks the ring, and nothing is taken',
  (_, place) => {
    const { queue, put, returned } = world([50, 2048], true);
    queue.avail[2 + place] = SIZE;
    expect(put()).toBe(BROKEN);
    expect(queue.broken).toBe(`avail entry names descriptor ${SIZE} of ${SIZE}`);
    expect(returned()).toEqual([]);
    expect(queue.nextAvail).toBe(0);
  },
);

test('an index that runs ahead behind the first buffer breaks the ring, and nothing is taken', () => {
  const { queue, put, returned } = world([50, 2048], true);
  queue.ready = 1; // as it was when the ring was looked at last
  queue.avail[1] = SIZE + 2;
  expect(put()).toBe(BROKEN);
  expect(returned()).toEqual([]);
  expect(queue.nextAvail).toBe(0);
});

test('what can not be written goes back empty, and so do the buffers before it', () => {
  const { put, returned, bad } = world([50, -2048, 2048], true);
  expect(put()).toBe(0);
  expect(returned()).toEqual([
    [0, 0],
    [1, 0],
    [2, 112],
  ]);
  expect(bad()).toBe(2);
});

test('so it does again and again, and the datagram says how many buffers it came in', () => {
  const { buffers, put, returned, bad } = world([50, -2048, 50, -2048, 50, 2048], true);
  expect(put()).toBe(0);
  expect(returned()).toEqual([
    [0, 0],
    [1, 0],
    [2, 0],
    [3, 0],
    [4, 50],
    [5, 62],
  ]);
  expect(bad()).toBe(4);
  expect(buffers()).toBe(2);
});

test('where buffers are not merged, one without room for a frame is no use, and a larger one is too small', () => {
  const tiny = world([25, 2048], false);
  expect(tiny.put()).toBe(0);
  expect(tiny.returned()).toEqual([
    [0, 0],
    [1, 112],
  ]);
  expect(tiny.bad()).toBe(1);
  const small = world([26, 2048], false);
  expect(CELLS[small.put()]).toBe('inputTooSmall');
  expect(small.returned()).toEqual([]);
  expect(small.bad()).toBe(0);
});
