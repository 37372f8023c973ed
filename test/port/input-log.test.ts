/** While a live migration logs what is written, a page is marked when the datagram is there, not before. */
import { describe, expect, test } from 'vitest';
import { CELLS } from '../../src/counters.ts';
import type { Native } from '../../src/native.ts';
import { putInput } from '../../src/port/input.ts';
import { putPacked } from '../../src/port/packed-input.ts';
import { BaseStorage } from '../../src/storage/base-storage.ts';
import { CopyList } from '../../src/storage/copy-list.ts';
import { Chain } from '../../src/virtio/chain.ts';
import type { DirtyLog } from '../../src/virtio/dirty-log.ts';
import { GuestMemory } from '../../src/virtio/guest-memory.ts';
import { PackedChain } from '../../src/virtio/packed-chain.ts';
import { barePackedQueue, bareSplitQueue, describeAt } from '../support/bare-queues.ts';

const SIZE = 8;
const NEXT = 1;
const WRITE = 2;
const AVAIL = 1 << 7;
const FRAME = 100;
const BUFFER = 4096;

/** What happened, in order; pages by their guest address. */
function world() {
  const events: string[] = [];
  const native = {
    gatherCopies: () => 0,
    deliverCopies: (count: number) => {
      for (let row = 0; row < count; row++) events.push(`copied ${copies.offsets[row * 3]}`);
      return 0;
    },
  } as unknown as Native;
  const arena = new ArrayBuffer(1 << 20);
  const storage = new BaseStorage(arena, 1 << 19, 64);
  const copies = new CopyList(native, new ArrayBuffer(24 * 64));
  copies.delivering = true;
  const memory = new GuestMemory(native);
  memory.add({ guest: 0, user: 0, bytes: 1 << 30, handle: 0 });
  const at = storage.at[storage.take(0, FRAME)];
  const log = {
    mark: (address: number) => events.push(`marked ${address}`),
  } as unknown as DirtyLog;
  return { events, storage, copies, memory, at, log, chain: new Chain(copies, arena, 1 << 19) };
}

describe('a logged input buffer', () => {
  test.each<[string, number[], string[]]>([
    ['one buffer', [2048], [`copied ${BUFFER}`, `marked ${BUFFER}`]],
    [
      'two, not one behind the other',
      [50, 2048],
      [`copied ${BUFFER}`, `copied ${3 * BUFFER}`, `marked ${BUFFER}`, `marked ${3 * BUFFER}`],
    ],
  ])('split: %s', (_, lengths, expected) => {
    const { events, storage, copies, memory, at, log, chain } = world();
    const queue = bareSplitQueue(SIZE, 1);
    queue.log = log;
    for (const [index, length] of lengths.entries()) {
      const more = index < lengths.length - 1 ? NEXT | ((index + 1) << 16) : 0;
      describeAt(queue, index, BUFFER * (1 + 2 * index), length, WRITE | more);
    }
    const cells = new Float64Array(CELLS.length);
    expect(putInput(queue, 0, 12, true, memory, storage, at, FRAME, copies, chain, cells)).toBe(0);
    expect(events).toEqual(expected);
    expect(copies.count).toBe(0);
  });

  test('packed', () => {
    const { events, storage, copies, memory, at, log, chain } = world();
    const queue = barePackedQueue(SIZE);
    queue.log = log;
    describeAt(queue, 0, BUFFER, 2048, (WRITE | AVAIL) << 16);
    const cells = new Float64Array(CELLS.length);
    const packed = new PackedChain();
    expect(
      putPacked(queue, 0, 12, true, memory, storage, at, FRAME, copies, chain, packed, cells),
    ).toBe(0);
    expect(events).toEqual([`copied ${BUFFER}`, `marked ${BUFFER}`]);
  });
});
