import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { native } from '../../src/native.ts';
import type { DirtyLog } from '../../src/virtio/dirty-log.ts';
import { GuestMemory } from '../../src/virtio/guest-memory.ts';
import { needEvent, SplitQueue } from '../../src/virtio/split-queue.ts';
import { BROKEN } from '../../src/virtio/virtqueue.ts';

const SIZE = 8;
const DESCRIPTORS = 0;
const AVAIL = 4096;
const USED = 8192;
const BYTES = 16384;

let memory: GuestMemory;
let queue: SplitQueue;
/** The driver's view of the same memory. */
let avail: Uint16Array;
let used: Uint16Array;

beforeEach(() => {
  const fd = native.memfd('queue', BYTES, true);
  const handle = native.mapRegion(fd, 0, BYTES);
  native.closeDescriptor(fd);
  memory = new GuestMemory(native);
  memory.add({ guest: 0, user: 0, bytes: BYTES, handle });
  avail = new Uint16Array(native.viewRegion(handle, AVAIL, 6 + SIZE * 2));
  used = new Uint16Array(native.viewRegion(handle, USED, 6 + SIZE * 8));
  queue = new SplitQueue();
});
afterEach(() => memory.clear());

function start(base = 0, size = SIZE): string {
  const address = { descriptors: DESCRIPTORS, avail: AVAIL, used: USED, log: 0, logged: false };
  return queue.map(native, memory, size, address, base);
}

function shownAndWanted(): boolean {
  queue.show();
  return queue.wantsSignal();
}

describe('a split queue', () => {
  test('is not mapped with a size that is no power of two: said while the ring was to be packed', () => {
    expect(start(0, 6)).toBe('its size is no power of two');
    expect(queue.mapped).toBe(false);
  });

  test('more heads than it can hold are BROKEN, at any base', () => {
    start(65_530);
    avail[1] = (65_530 + SIZE) & 0xffff;
    expect(queue.available()).toBe(SIZE);
    avail[1] = (65_530 + SIZE + 1) & 0xffff;
    expect(queue.available()).toBe(BROKEN);
    avail[1] = 65_529;
    expect(queue.available()).toBe(BROKEN);
  });

  test('used elements appear only with the index, which wraps', () => {
    used[1] = 65_535;
    start();
    queue.giveBack(3, 100);
    queue.giveBack(5, 0);
    expect(used[1]).toBe(65_535);
    queue.show();
    expect(used[1]).toBe(1);
    const elements = new Uint32Array(used.buffer, 4, SIZE * 2);
    expect([...elements.subarray(14, 16), ...elements.subarray(0, 2)]).toEqual([3, 100, 5, 0]);
  });

  test.each([true, false])(
    'EVENT_IDX %s: arming tells of what came before the wish was seen',
    (eventIndex) => {
      start();
      queue.eventIndex = eventIndex;
      expect(queue.arm(queue.nextAvail)).toBe(false);
      if (eventIndex) expect(used[2 + SIZE * 4]).toBe(0);
      else expect(used[0]).toBe(0);
      // The driver adds something just before it could see the wish: it won't notify.
      avail[1] = 1;
      expect(queue.arm(queue.nextAvail)).toBe(true);
      queue.disarm();
      if (!eventIndex) expect(used[0]).toBe(1);
      expect(queue.arm(queue.nextAvail)).toBe(true);
    },
  );

  test('without EVENT_IDX the driver is interrupted unless it says no', () => {
    start();
    queue.giveBack(0, 0);
    expect(shownAndWanted()).toBe(true);
    avail[0] = 1;
    queue.giveBack(1, 0);
    expect(shownAndWanted()).toBe(false);
    expect(shownAndWanted()).toBe(false); // nothing new is nothing to tell
  });

  test('with EVENT_IDX the driver is interrupted when its event is passed, and only then', () => {
    start();
    queue.eventIndex = true;
    avail[2 + SIZE] = 1; // after the second element
    queue.giveBack(0, 0);
    expect(shownAndWanted()).toBe(false);
    queue.giveBack(1, 0);
    expect(shownAndWanted()).toBe(true);
    queue.giveBack(2, 0);
    expect(shownAndWanted()).toBe(false);
  });

  test('a driver that is asked once for what was shown twice is told of both', () => {
    start();
    queue.eventIndex = true;
    avail[2 + SIZE] = 0; // after the first element
    queue.giveBack(0, 0);
    expect(queue.show()).toBe(true);
    queue.giveBack(1, 0);
    expect(queue.show()).toBe(true);
    expect(queue.show()).toBe(false);
    expect(queue.wantsSignal()).toBe(true);
    expect(queue.wantsSignal()).toBe(false);
  });

  test('vring_need_event, against its definition', () => {
    let wrong = 0;
    for (let round = 0; round < 20_000; round++) {
      const old = Math.floor(Math.random() * 65_536);
      const count = Math.floor(Math.random() * 300);
      const event = (old + Math.floor(Math.random() * 600) - 150) & 0xffff;
      let expected = false;
      for (let index = 0; index < count; index++) expected ||= ((old + index) & 0xffff) === event;
      if (needEvent(event, (old + count) & 0xffff, old) !== expected) wrong++;
    }
    expect(wrong).toBe(0);
  });

  test.each([
    ['a table over the end of memory', { descriptors: BYTES - 16 }],
    ['an unaligned used ring', { used: USED + 2 }],
    ['an unaligned table', { descriptors: 8 }],
    ['an avail ring outside', { avail: 1 << 30 }],
  ])('does not map %s', (_, wrong) => {
    const address = {
      descriptors: DESCRIPTORS,
      avail: AVAIL,
      used: USED,
      log: 0,
      logged: false,
      ...wrong,
    };
    expect(queue.map(native, memory, SIZE, address, 0)).not.toBe('');
    expect(queue.mapped).toBe(false);
  });

  test('that starts goes on behind what was given back last, where no more than a ring lies between', () => {
    used[1] = 100;
    start(100 + SIZE);
    expect(queue.nextAvail).toBe(100);
    queue.stop();
    start(100 + SIZE + 1);
    expect(queue.nextAvail).toBe(100 + SIZE + 1);
    queue.stop();
    avail[1] = 100 + SIZE;
    start(0);
    expect(queue.nextAvail).toBe(100);
    queue.stop();
    avail[1] = 100 + SIZE + 1;
    start(0);
    expect(queue.nextAvail).toBe(0);
  });

  test('that is mapped anew goes on where it was, and has nothing to tell', () => {
    start(3);
    used[1] = 1;
    start(3);
    expect(queue.nextAvail).toBe(3);
    queue.resume(3);
    expect(shownAndWanted()).toBe(false);
  });

  test('armed a second time asks for the new place', () => {
    start();
    queue.eventIndex = true;
    queue.arm(4);
    queue.arm(5);
    expect(used[2 + SIZE * 4]).toBe(5);
  });

  test('elements that are emptied keep their heads, around the end of the ring, too', () => {
    used[1] = 65_535;
    start();
    queue.giveBack(3, 100);
    queue.giveBack(5, 60);
    queue.emptySince(65_535);
    const elements = new Uint32Array(used.buffer, 4, SIZE * 2);
    expect([...elements.subarray(14, 16), ...elements.subarray(0, 2)]).toEqual([3, 0, 5, 0]);
  });

  test('what it writes is logged where the front-end says that its used ring is', () => {
    const marks: number[][] = [];
    const mark = (address: number, length: number) => marks.push([address - 0x10000, length]);
    used[1] = SIZE - 1;
    start();
    queue.log = { mark } as unknown as DirtyLog;
    queue.setLogged(true, 0x10000);
    queue.giveBack(0, 100);
    queue.giveBack(1, 100);
    queue.show();
    // Elements behind flags and index: the last, the first; then the index.
    expect(marks.splice(0)).toEqual([
      [4 + (SIZE - 1) * 8, 8],
      [4, 8],
      [2, 2],
    ]);
    queue.arm(0);
    queue.disarm();
    expect(marks.splice(0)).toEqual([
      [0, 2],
      [0, 2],
    ]);
    queue.eventIndex = true;
    queue.arm(0);
    expect(marks).toEqual([[4 + SIZE * 8, 2]]);
  });
});
