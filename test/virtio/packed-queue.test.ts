import { describe, expect, test } from 'vitest';
import { native } from '../../src/native.ts';
import { GuestMemory } from '../../src/virtio/guest-memory.ts';
import { PackedQueue } from '../../src/virtio/packed-queue.ts';
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

describe('a packed queue that is mapped', () => {
  const BYTES = 4096;
  const DRIVER = 1024;
  const DEVICE = 2048;

  function start(base: number) {
    const fd = native.memfd('packed', BYTES, true);
    const handle = native.mapRegion(fd, 0, BYTES);
    native.closeDescriptor(fd);
    const memory = new GuestMemory(native);
    memory.add({ guest: 0, user: 0, bytes: BYTES, handle });
    const queue = new PackedQueue();
    const address = { descriptors: 0, avail: DRIVER, used: DEVICE, log: 0, logged: false };
    const wrong = queue.map(native, memory, SIZE, address, base);
    const words = new Int32Array(native.viewRegion(handle, 0, BYTES));
    return { queue, wrong, words, memory };
  }

  test('goes on inside the ring only', () => {
    for (const [base, expected] of [
      [0x8000 | (SIZE - 1), ''],
      [0x8000 | SIZE, `its base ${SIZE} is not inside the ring`],
    ] as const) {
      const { wrong, memory } = start(base);
      expect(wrong).toBe(expected);
      memory.clear();
    }
  });

  test('asks for a notification in the lap that the place is in, and anew for another place', () => {
    const { queue, words, memory } = start(0x8000 | 6);
    queue.eventIndex = true;
    const asked = (place: number) => {
      queue.arm(place);
      return words[DEVICE / 4];
    };
    expect(asked(6)).toBe(at(6, 1));
    expect(asked(7)).toBe(at(7, 1));
    expect(asked(2)).toBe(at(2, 0));
    memory.clear();
  });

  test('an event is believed only where it was negotiated', () => {
    const { queue, words, memory } = start(0x8000);
    words[DRIVER / 4] = at(5, 1);
    for (const eventIndex of [true, false]) {
      queue.eventIndex = eventIndex;
      queue.advance(1);
      queue.giveBack(0, 1, 0);
      queue.show();
      expect(queue.wantsSignal()).toBe(!eventIndex);
    }
    memory.clear();
  });
});
