/** Queues over memory of their own, without a front-end: what a test of one function of the way needs of a ring. */
import { PackedQueue } from '../../src/virtio/packed-queue.ts';
import { SplitQueue } from '../../src/virtio/split-queue.ts';

/** With `available` heads, all of them descriptor 0. */
export function bareSplitQueue(size: number, available: number): SplitQueue {
  const queue = new SplitQueue();
  queue.size = size;
  queue.mask = size - 1;
  queue.descriptors = new Int32Array(size * 4);
  queue.avail = new Uint16Array(3 + size);
  queue.used = new Uint16Array(3 + size * 4);
  queue.elements = new Int32Array(size * 2);
  queue.avail[1] = available;
  queue.mapped = true;
  return queue;
}

export function barePackedQueue(size: number): PackedQueue {
  const queue = new PackedQueue();
  queue.size = size;
  queue.descriptors = new Int32Array(size * 4);
  queue.mapped = true;
  return queue;
}

/** Writes a descriptor; `last` is its last word, which both formats have their own use for. */
export function describeAt(
  queue: SplitQueue | PackedQueue,
  index: number,
  place: number,
  length: number,
  last: number,
): void {
  queue.descriptors.set([place, 0, length, last], index * 4);
}
