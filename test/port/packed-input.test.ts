/**
 * Input buffers of a packed ring. Those around its end that did not suffice are found again, in the lap that they are of; what is no use goes
 * back empty, once.
 */
import { expect, test } from 'vitest';
import { CELL, CELLS } from '../../src/counters.ts';
import { FULL } from '../../src/port/input.ts';
import { BROKEN } from '../../src/virtio/virtqueue.ts';
import { barePackedQueue, describeAt } from '../support/bare-queues.ts';
import { inputWorld } from '../support/input-world.ts';

const SIZE = 4;
const NEXT = 1;
const WRITE = 2;
/** What is available in this lap, and in the next. */
const AVAIL = [1 << 7, 1 << 15];

/** A ring whose head is its last place; `offer` makes the buffers from there on available. */
function world(mergeable: boolean) {
  const { put } = inputWorld();
  const queue = barePackedQueue(SIZE);
  queue.nextAvail = SIZE - 1;
  queue.nextUsed = SIZE - 1;
  const offer = (...buffers: { length: number; more?: boolean }[]) => {
    for (const [index, { length, more }] of buffers.entries()) {
      const flags = WRITE | (more ? NEXT : 0) | AVAIL[index === 0 ? 0 : 1];
      const place = (SIZE - 1 + index) % SIZE;
      describeAt(queue, place, 4096 * index, length, index | (flags << 16));
    }
  };
  const stood = () => [queue.nextAvail, queue.availWrap, queue.nextUsed, queue.usedWrap];
  return { queue, offer, put: (bytes: number) => put(queue, bytes, mergeable), stood };
}

test('too few for a datagram, and enough when more were added', () => {
  const { offer, put, stood } = world(true);
  offer({ length: 100 }, { length: 100 });
  const before = stood();
  expect(put(250)).toBe(FULL);
  expect(stood()).toEqual(before);
  offer({ length: 100 }, { length: 100 }, { length: 100 });
  expect(put(250)).toBe(0);
  expect(stood()).toEqual([2, 0, 2, 0]);
});

test('one of two descriptors that is too small for a datagram, and not for the next', () => {
  const { offer, put, stood } = world(false);
  offer({ length: 12, more: true }, { length: 200 });
  const before = stood();
  expect(CELLS[put(250)]).toBe('inputTooSmall');
  expect(stood()).toEqual(before);
  expect(put(150)).toBe(0);
  expect(stood()).toEqual([1, 0, 1, 0]);
});

test('one that does not end behind another: the ring is broken, and stands where it was', () => {
  const { offer, put, queue, stood } = world(true);
  offer({ length: 100 }, { length: 100, more: true });
  const before = stood();
  expect(put(250)).toBe(BROKEN);
  expect(queue.broken).toBe('a chain goes on with a descriptor that is not available');
  expect(stood()).toEqual(before);
});

test('what can not be written goes back empty, and so do the buffers before it, each once', () => {
  const { buffers, cells, put } = inputWorld();
  const queue = barePackedQueue(8);
  const lengths = [50, -2048, 50, -2048, 50, 2048];
  for (const [index, length] of lengths.entries()) {
    const flags = AVAIL[0] | (length < 0 ? 0 : WRITE);
    describeAt(queue, index, 4096 * index, Math.abs(length), index | (flags << 16));
  }
  expect(put(queue, 100, true)).toBe(0);
  queue.show();
  expect([queue.nextAvail, queue.nextUsed]).toEqual([6, 6]);
  const given = (index: number) => [
    queue.descriptors[4 * index + 3] & 0xffff,
    queue.descriptors[4 * index + 2],
  ];
  expect(lengths.map((_, index) => given(index))).toEqual([
    [0, 0],
    [1, 0],
    [2, 0],
    [3, 0],
    [4, 50],
    [5, 62],
  ]);
  expect(cells[CELL.badInputChains]).toBe(4);
  expect(buffers()).toBe(2);
});
