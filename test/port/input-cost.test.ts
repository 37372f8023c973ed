/**
 * What finding room for one datagram may cost: a ring whose input buffers are endless chains of nothing is stopped, however it is
 * made, before it costs the other VMs their time.
 */
import { describe, expect, test } from 'vitest';
import { CELLS } from '../../src/counters.ts';
import type { Native } from '../../src/native.ts';
import { MAX_STEPS, putInput } from '../../src/port/input.ts';
import { putPacked } from '../../src/port/packed-input.ts';
import { BaseStorage } from '../../src/storage/base-storage.ts';
import { CopyList } from '../../src/storage/copy-list.ts';
import { Chain } from '../../src/virtio/chain.ts';
import { GuestMemory } from '../../src/virtio/guest-memory.ts';
import { PackedChain } from '../../src/virtio/packed-chain.ts';
import type { PackedQueue } from '../../src/virtio/packed-queue.ts';
import { BROKEN, type SplitQueue } from '../../src/virtio/split-queue.ts';
import { barePackedQueue, bareSplitQueue, describeAt } from '../support/bare-queues.ts';

const SIZE = 32768;
/** Where all buffers lie. */
const PLACE = 4096;
const NEXT = 1;
const WRITE = 2;
const INDIRECT = 4;
const AVAIL = 1 << 7;

/** Copies nothing: what is counted here is the descriptors that were looked at. */
const native = { gatherCopies: () => 0, deliverCopies: () => 0 } as unknown as Native;

function world() {
  const arena = new ArrayBuffer(1 << 20);
  const storage = new BaseStorage(arena, 1 << 19, 64);
  const copies = new CopyList(native, new ArrayBuffer(24 * 4096));
  const memory = new GuestMemory(native);
  memory.add({ guest: 0, user: 0, bytes: 1 << 30, handle: 0 });
  const slot = storage.take(0, 1514);
  return { copies, memory, storage, at: storage.at[slot], chain: counting(copies, arena) };
}

/** A chain that says how many descriptors were looked at in all. */
function counting(copies: CopyList, arena: ArrayBuffer): Chain & { all(): number } {
  const chain = new Chain(copies, arena, 1 << 19);
  let before = 0;
  const begin = chain.begin.bind(chain);
  return Object.assign(chain, {
    begin: () => {
      before += chain.steps;
      begin();
    },
    all: () => before + chain.steps,
  });
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
        const { copies, memory, storage, at, chain } = world();
        const queue = bareSplitQueue(SIZE, SIZE);
        prepare(queue);
        const cells = new Float64Array(CELLS.length);
        let outcome = 0;
        for (let i = 0; i < 8 && outcome !== BROKEN; i++) {
          const before = chain.all();
          outcome = putInput(
            queue,
            0,
            12,
            mergeable,
            memory,
            storage,
            at,
            1514,
            copies,
            chain,
            cells,
          );
          expect(chain.all() - before).toBeLessThanOrEqual(MAX_STEPS + SIZE);
        }
        if (mergeable || !name.startsWith('a header')) expect(outcome).toBe(BROKEN);
        // What is shown to the driver was taken from it.
        expect(queue.nextUsed).toBe(queue.nextAvail);
      });
    }
  }

  test('packed: indirect tables of empty descriptors', () => {
    const { copies, memory, storage, at, chain } = world();
    const queue = barePackedQueue(SIZE);
    queue.indirect = true;
    for (let i = 0; i < SIZE; i++)
      describeAt(queue, i, PLACE, 4096 * 16, i | ((WRITE | INDIRECT | AVAIL) << 16));
    // The table that is fetched: nothing but empty descriptors, the first holds a header.
    chain.scratch.fill(0);
    for (let i = 0; i < 4096; i++) chain.scratch[i * 4 + 3] = WRITE << 16;
    chain.scratch[2] = 12;
    const cells = new Float64Array(CELLS.length);
    const outcome = putPacked(
      queue,
      0,
      12,
      true,
      memory,
      storage,
      at,
      1514,
      copies,
      chain,
      new PackedChain(),
      cells,
    );
    expect(outcome).toBe(BROKEN);
    expect(chain.all()).toBeLessThan(4 * MAX_STEPS);
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
        const { copies, memory, storage, at, chain } = world();
        const cells = new Float64Array(CELLS.length);
        const packedChain = new PackedChain();
        const put = (bytes: number): number =>
          queue.format === 'split'
            ? putInput(queue, 0, 12, false, memory, storage, at, bytes, copies, chain, cells)
            : putPacked(
                queue,
                0,
                12,
                false,
                memory,
                storage,
                at,
                bytes,
                copies,
                chain,
                packedChain,
                cells,
              );
        for (let i = 0; i < DATAGRAMS; i++) expect(put(5000)).toBe(TOO_SMALL);
        expect(chain.all()).toBeLessThan((LONG * DATAGRAMS) / 20);
        // A shorter one fits there, and the next buffer is another one.
        expect(put(LONG - 12)).toBe(0);
        expect(put(5000)).toBe(0);
      });
    }
  });

  test('64 KiB in 16-byte buffers are not too many', () => {
    const { copies, memory, storage, at, chain } = world();
    const queue = bareSplitQueue(SIZE, SIZE);
    for (let i = 0; i < SIZE; i++) {
      describeAt(queue, i, PLACE, 16, WRITE);
      queue.avail[2 + i] = i;
    }
    const cells = new Float64Array(CELLS.length);
    const bytes = 16 * 4096 - 12;
    expect(putInput(queue, 0, 12, true, memory, storage, at, bytes, copies, chain, cells)).toBe(0);
    expect(queue.nextUsed).toBe(4096);
  });
});
