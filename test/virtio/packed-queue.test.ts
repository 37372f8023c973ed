import { describe, expect, test } from 'vitest';
import type { PackedQueue } from '../../src/virtio/packed-queue.ts';
import { barePackedQueue } from '../support/bare-queues.ts';

const SIZE = 8;
/** What the driver's event area says: tell me when the descriptor at this place of this lap is used. */
const at = (place: number, wrap: number) => place | (wrap << 15) | (2 << 16);

describe('a packed queue whose driver is asked once for two turns', () => {
  function start(): { queue: PackedQueue; event: Int32Array } {
    const queue = barePackedQueue(SIZE);
    queue.eventIndex = true;
    const event = new Int32Array(1);
    (queue as unknown as { driverEvent: Int32Array }).driverEvent = event;
    return { queue, event };
  }

  /** Two chains of three descriptors each are taken, given back and shown. */
  function turn(queue: PackedQueue): void {
    for (let chain = 0; chain < 2; chain++) {
      queue.advance(3);
      queue.giveBack(chain, 3, 0);
    }
    queue.show();
  }

  // The second turn goes over places 6 and 7, and 0 to 3 of the next lap.
  test.each([
    ['the first turn', at(0, 1)],
    ['the second turn', at(6, 1)],
    ['the second turn, in the next lap', at(3, 0)],
  ])('an event that was passed in %s is told, though the ring went round meanwhile', (_, word) => {
    const { queue, event } = start();
    turn(queue);
    event[0] = word;
    turn(queue);
    expect(queue.wantsSignal()).toBe(true);
    expect(queue.wantsSignal(), 'nothing new').toBe(false);
  });

  // Both turns go round: places 6, 7 and 0 to 3, then 4 to 7 and 0 and 1 of the lap after the next.
  test('an event that was passed two laps ago is told', () => {
    const { queue, event } = start();
    turn(queue);
    expect(queue.wantsSignal()).toBe(true);
    event[0] = at(6, 1);
    for (let turns = 0; turns < 2; turns++) turn(queue);
    expect(queue.wantsSignal()).toBe(true);
    expect(queue.wantsSignal(), 'nothing new').toBe(false);
  });

  test('an event that is still to come is not', () => {
    const { queue, event } = start();
    for (let turns = 0; turns < 2; turns++) turn(queue);
    event[0] = at(4, 0);
    expect(queue.wantsSignal()).toBe(false);
  });
});
