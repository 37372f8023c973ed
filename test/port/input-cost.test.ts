/**
 * What finding room for one datagram may cost: a ring whose input buffers are endless chains of nothing is stopped, however it is
 * made, before it costs the other VMs their time.
 */
import { describe, expect, test } from 'vitest';
import { CELLS } from '../../src/counters.ts';
import { MAX_STEPS } from '../../src/port/input.ts';
import type { Chain } from '../../src/virtio/chain.ts';
import type { PackedQueue } from '../../src/virtio/packed-queue.ts';
import type { SplitQueue } from '../../src/virtio/split-queue.ts';
import { BROKEN } from '../../src/virtio/virtqueue.ts';
import { barePackedQueue, bareSplitQueue, describeAt } from '../support/bare-queues.ts';
import { inputWorld } from '../support/input-world.ts';

const SIZE = 32768;
/** Where all buffers lie. */
const PLACE = 4096;
const NEXT = 1;
const WRITE = 2;
const INDIRECT = 4;
const AVAIL = 1 << 7;

/** `all`: how many descriptors were looked at. */
function world() {
  const { chain, put } = inputWorld();
  return { chain, put, all: counting(chain) };
}

/** How many descriptors were looked at in all. */
function counting(chain: Chain): () => number {
  let before = 0;
  const begin = chain.begin.bind(chain);
  chain.begin = () => {
    before += chain.steps;
    begin();
  };
  return () => before + chain.steps;
}

describe('the cost of an input buffer', () => {
  const KINDS: Record<string, (queue: SplitQueue) => void> = {
    'chains that loop': (queue) => {
      for (let i = 0; i < SIZE; i++)
        describeAt(queue, i, PLACE, 1, NEXT | WRITE | (((i + 1) % SIZE) << 16));
    },
    'a header, then chains of empty descriptors': (queue) => {
      for (let i = 0; i < SIZE; i++)
        describeAt(
          queue,
          i,
          PLACE,
          i === 0 ? 12 : 0,
          (i < 1024 ? NEXT : 0) | WRITE | ((i + 1) << 16),
        );
      for (let i = 1; i < SIZE; i++) queue.avail[2 + i] = 1;
    },
    'buffers too small for a header, more whenever some were given back': (queue) => {
      for (let i = 0; i < SIZE; i++) describeAt(queue, i, PLACE, 1, WRITE);
      // The driver on another processor, as quick as can be.
      queue.available = () => SIZE;
    },
  };
  for (const [name, prepare] of Object.entries(KINDS)) {
    for (const mergeable of [true, false]) {
      test(`${name}, ${mergeable ? '' : 'not '}mergeable: the ring is broken`, () => {
        const { put, all } = world();
        const queue = bareSplitQueue(SIZE, SIZE);
        prepare(queue);
        let outcome = 0;
        for (let i = 0; i < 8 && outcome !== BROKEN; i++) {
          const before = all();
          outcome = put(queue, 1514, mergeable);
          expect(all() - before).toBeLessThanOrEqual(MAX_STEPS + SIZE);
        }
        if (mergeable || !name.startsWith('a header')) expect(outcome).toBe(BROKEN);
        // What is shown to the driver was taken from it.
        expect(queue.nextUsed).toBe(queue.nextAvail);
      });
    }
  }

  test('packed: indirect tables of empty descriptors', () => {
    const { chain, put, all } = world();
    const queue = barePackedQueue(SIZE);
    queue.indirect = true;
    for (let i = 0; i < SIZE; i++)
      describeAt(queue, i, PLACE, 4096 * 16, i | ((WRITE | INDIRECT | AVAIL) << 16));
    // The table that is fetched: nothing but empty descriptors, the first holds a header.
    chain.scratch.fill(0);
    for (let i = 0; i < 4096; i++) chain.scratch[i * 4 + 3] = WRITE << 16;
    chain.scratch[2] = 12;
    expect(put(queue, 1514, true)).toBe(BROKEN);
    expect(all()).toBeLessThan(4 * MAX_STEPS);
  });

  describe('too small buffers at the head, in thousands of descriptors', () => {
    const LONG = 4000;
    const TOO_SMALL = CELLS.indexOf('inputTooSmall');
    const DATAGRAMS = 256;

    /** Buffers 0: LONG bytes in as many descriptors; 1: one of 2 KiB. */
    function split(): SplitQueue {
      const queue = bareSplitQueue(SIZE, SIZE);
      for (let i = 0; i < LONG; i++) {
        describeAt(queue, i, PLACE, 1, (i < LONG - 1 ? NEXT : 0) | WRITE | ((i + 1) << 16));
      }
      describeAt(queue, LONG, PLACE, 8192, WRITE);
      queue.avail[2 + 1] = LONG;
      queue.avail[1] = 2;
      return queue;
    }

    /** The same in a packed ring. */
    function packed(): PackedQueue {
      const queue = barePackedQueue(SIZE);
      for (let i = 0; i < LONG; i++)
        describeAt(queue, i, PLACE, 1, ((WRITE | AVAIL | (i < LONG - 1 ? NEXT : 0)) << 16) | 7);
      describeAt(queue, LONG, PLACE, 8192, ((WRITE | AVAIL) << 16) | 8);
      return queue;
    }

    for (const [name, queue] of [
      ['split', split()],
      ['packed', packed()],
    ] as const) {
      test(`${name}: are not looked at for every datagram, and forgotten when one was taken`, () => {
        const { put, all } = world();
        for (let i = 0; i < DATAGRAMS; i++) expect(put(queue, 5000)).toBe(TOO_SMALL);
        expect(all()).toBeLessThan((LONG * DATAGRAMS) / 20);
        // A shorter one fits there, and the next buffer is another one.
        expect(put(queue, LONG - 12)).toBe(0);
        expect(put(queue, 5000)).toBe(0);
      });
    }
  });

  test('64 KiB in 16-byte buffers are not too many', () => {
    const { put } = world();
    const queue = bareSplitQueue(SIZE, SIZE);
    for (let i = 0; i < SIZE; i++) {
      describeAt(queue, i, PLACE, 16, WRITE);
      queue.avail[2 + i] = i;
    }
    expect(put(queue, 16 * 4096 - 12, true)).toBe(0);
    expect(queue.nextUsed).toBe(4096);
  });
});
