/** While a live migration logs what is written, a page is marked when the datagram is there, not before. */
import { describe, expect, test } from 'vitest';
import type { DirtyLog } from '../../src/virtio/dirty-log.ts';
import { barePackedQueue, bareSplitQueue, describeAt } from '../support/bare-queues.ts';
import { inputWorld } from '../support/input-world.ts';

const SIZE = 8;
const NEXT = 1;
const WRITE = 2;
const AVAIL = 1 << 7;
const FRAME = 100;
const BUFFER = 4096;

/** What happened, in order; pages by their guest address. */
function world() {
  const events: string[] = [];
  const { copies, put } = inputWorld((copies, count) => {
    for (let row = 0; row < count; row++) events.push(`copied ${copies.row(row).offset}`);
  });
  const log = {
    mark: (address: number) => events.push(`marked ${address}`),
  } as unknown as DirtyLog;
  return { events, copies, put, log };
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
    const { events, copies, put, log } = world();
    const queue = bareSplitQueue(SIZE, 1);
    queue.log = log;
    for (const [index, length] of lengths.entries()) {
      const more = index < lengths.length - 1 ? NEXT | ((index + 1) << 16) : 0;
      describeAt(queue, index, BUFFER * (1 + 2 * index), length, WRITE | more);
    }
    expect(put(queue, FRAME, true)).toBe(0);
    expect(events).toEqual(expected);
    expect(copies.count).toBe(0);
  });

  test('packed', () => {
    const { events, put, log } = world();
    const queue = barePackedQueue(SIZE);
    queue.log = log;
    describeAt(queue, 0, BUFFER, 2048, (WRITE | AVAIL) << 16);
    expect(put(queue, FRAME, true)).toBe(0);
    expect(events).toEqual([`copied ${BUFFER}`, `marked ${BUFFER}`]);
  });
});
