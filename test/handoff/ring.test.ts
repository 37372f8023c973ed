/**
 * A ring between two workers, both its ends in this thread over real shared memory and the addon's copies: what goes in comes out, in order
 * and whole, whatever the indices are; nothing is seen early or written over; what is impossible harms nobody.
 */
import { afterAll, beforeEach, describe, expect, test } from 'vitest';
import { CELL, Counters, RECORD_CELLS } from '../../src/counters.ts';
import { HandedColumns } from '../../src/routing/handed-columns.ts';
import { Incoming } from '../../src/handoff/incoming.ts';
import {
  DATA_BYTES,
  ENTRIES,
  ENTRY,
  handoffBytes,
  RING,
  ringStart,
} from '../../src/handoff/layout.ts';
import { Outgoing } from '../../src/handoff/outgoing.ts';
import { native } from '../../src/native.ts';
import { AT_ADAPTERS, BROADCAST_HERE } from '../../src/routing/verdict.ts';
import { BaseStorage } from '../../src/storage/base-storage.ts';
import { CopyList } from '../../src/storage/copy-list.ts';
import { seeded } from '../support/random.ts';

const WORKERS = 2;
/** VMs 0 and 1, adapter 2; the receiving end owns VM 1 and the adapter. */
const [VMS, PORTS] = [2, 3];
const MARK = PORTS;
const START = ringStart(WORKERS, 0, 1);
const ARENA = 16 << 20;

const { arena, rows } = native.createArena(ARENA, 8192);
const copies = new CopyList(native, rows);
const columns = new HandedColumns(4096, VMS, PORTS, (vm) => vm > 0, true);
const fd = native.memfd('basewire-handoff', handoffBytes(WORKERS), true);
const region = native.mapRegion(fd, 0, handoffBytes(WORKERS));
const words = new Int32Array(native.viewRegion(region, 0, handoffBytes(WORKERS)));
afterAll(() => {
  native.unmapRegion(region);
  native.closeDescriptor(fd);
});

const PRODUCED = (START + RING.produced) >> 2;
const CONSUMED = (START + RING.consumed) >> 2;

let counters: Counters;
let outgoing: Outgoing;
let incoming: Incoming;
const sending = new BaseStorage(arena, ARENA / 2, 4096);
/** The other half of the arena. */
const receiving = new BaseStorage(arena, ARENA, 4096);

function ends(): void {
  outgoing = new Outgoing(words, region, START, copies, counters.cells);
  incoming = new Incoming(words, region, START, receiving, copies, columns, MARK);
}

function begin(index = 0): void {
  words.fill(0);
  Atomics.store(words, PRODUCED, index);
  Atomics.store(words, CONSUMED, index);
  counters = new Counters(PORTS);
  copies.count = 0;
  ends();
}
beforeEach(() => begin());

/** Puts a frame of `length` bytes that all are `value`; its virtio-net header too, and one more. */
function put(length: number, value: number, heavy = false, from = 0, to = 1): boolean {
  sending.clear();
  const slot = sending.take(from, length);
  const at = sending.at[slot];
  sending.bytes.fill((value + 1) & 0xff, at - 12, at);
  sending.bytes.fill(value, at, at + length);
  copies.delivering = true;
  const done = outgoing.put(at, length, from, to, heavy);
  copies.deliver();
  return done;
}

interface Taken {
  length: number;
  value: number;
  header: number;
  even: boolean;
  from: number;
  to: number;
}

function take(datagrams = ENTRIES, bytes = DATA_BYTES): Taken[] {
  receiving.clear();
  receiving.fill = ARENA / 2;
  copies.delivering = false;
  incoming.gather(datagrams, bytes);
  copies.gather();
  const taken: Taken[] = [];
  for (let slot = 0; slot < receiving.count; slot++) {
    expect(receiving.from[slot]).toBe(MARK);
    const [at, length] = [receiving.at[slot], receiving.length[slot]];
    const frame = receiving.bytes.subarray(at, at + length);
    taken.push({
      length,
      value: frame[0],
      header: receiving.bytes[at - 12],
      even: frame.every((byte) => byte === frame[0]),
      from: columns.from[slot],
      to: columns.to[slot],
    });
  }
  return taken;
}

/** The entry that is put next. */
const entryAt = (index: number) => ((START + RING.entries) >> 2) + (index % ENTRIES) * ENTRY.words;

test('behind an impossible entry of a worker that failed nothing is written over what waits', () => {
  expect(put(60, 1)).toBe(true);
  expect(put(60, 2)).toBe(true);
  expect(put(60, 3)).toBe(true);
  outgoing.publish();
  const whole = words[entryAt(1) + ENTRY.offset];
  words[entryAt(0) + ENTRY.offset] = -7;
  words[entryAt(1) + ENTRY.offset] = DATA_BYTES - 2048;
  words[entryAt(2) + ENTRY.offset] = whole;
  ends();
  expect(put(60, 9), 'nothing before the ring is empty').toBe(false);
  expect(take().length).toBe(2);
  expect(incoming.damaged).toBe(1);
  incoming.release();
  expect(put(60, 9)).toBe(false); // the consumer's index is read once per turn
  outgoing.publish();
  expect(put(60, 9)).toBe(true);
  expect(put(60, 10), 'nor one at a time from here on').toBe(true);
  outgoing.publish();
  expect(take()).toMatchObject([
    { value: 9, even: true },
    { value: 10, even: true },
  ]);
});

describe('in order and whole', () => {
  test('a frame with its header, its origin and its goal', () => {
    expect(put(60, 7)).toBe(true);
    expect(incoming.hasWork(), 'not before it is published').toBe(false);
    expect(outgoing.publish()).toBe(true);
    expect(outgoing.publish(), 'nothing new').toBe(false);
    expect(incoming.hasWork()).toBe(true);
    expect(take()).toEqual([{ length: 60, value: 7, header: 8, even: true, from: 0, to: 1 }]);
    expect(incoming.hasWork()).toBe(false);
    expect(counters.get(0, 'handedOver')).toBe(1);
  });

  test.each([
    0,
    2 ** 31 - 5000, // the sign changes on the way
    -5000, // and the indices begin again
  ])('many of any length, now more and now less in the ring, from index %i', (index) => {
    begin(index);
    const random = seeded();
    const expected: number[][] = [];
    let sent = 0;
    let seen = 0;
    while (seen < 20_000) {
      for (let count = random.between(0, 200); count > 0 && sent < 20_000; count--) {
        const length = random.chance(0.02) ? random.between(14, 65_550) : random.between(14, 1514);
        if (!put(length, sent & 0xff)) break;
        expected.push([length, sent & 0xff]);
        sent++;
      }
      outgoing.publish();
      for (const { length, value, header, even } of take(random.between(1, 300))) {
        expect([length, value]).toEqual(expected.shift());
        expect([header, even]).toEqual([(value + 1) & 0xff, true]);
        seen++;
      }
      if (random.chance(0.8)) incoming.release();
    }
    expect(expected).toEqual([]);
    expect(incoming.damaged).toBe(0);
  });

  test('more than the list of copies holds', () => {
    // A list that is as good as full begins anew, on the way in and on the way out.
    const { rows } = copies;
    const fill = () => {
      while (copies.count < rows) copies.add(region, START + RING.data, 0, 0);
    };
    sending.clear();
    const slot = sending.take(0, 60);
    const at = sending.at[slot];
    sending.bytes.fill(5, at - 12, at + 60);
    copies.delivering = true;
    fill();
    expect(outgoing.put(at, 60, 0, 1, false)).toBe(true);
    copies.deliver();
    outgoing.publish();
    receiving.clear();
    receiving.fill = ARENA / 2;
    copies.delivering = false;
    fill();
    expect(incoming.gather(1, DATA_BYTES)).toBe(1);
    expect(copies.count).toBe(1);
    copies.gather();
    expect(receiving.bytes.subarray(receiving.at[0], receiving.at[0] + 60)).toEqual(
      new Uint8Array(60).fill(5),
    );
  });

  test('no more than the budget', () => {
    for (let index = 0; index < 10; index++) put(1000, index);
    outgoing.publish();
    expect(take(3)).toHaveLength(3);
    expect(take(100, 1500)).toHaveLength(2);
    expect(take().map(({ value }) => value)).toEqual([5, 6, 7, 8, 9]);
  });

  test('what base storage has no room for stays', () => {
    for (let index = 0; index < 4; index++) put(60, index);
    outgoing.publish();
    receiving.keepBack(0, 4094);
    expect(take()).toHaveLength(2);
    receiving.release();
    expect(take().map(({ value }) => value)).toEqual([2, 3]);
  });

  test('copies of broadcasts, and what the base says, are in nobody’s books', () => {
    put(60, 1, false, 0, BROADCAST_HERE);
    put(60, 2, false, -1, 1);
    put(60, 3, false, 0, AT_ADAPTERS);
    put(60, 4, false, 2, 1);
    outgoing.publish();
    expect(take().map(({ from, to }) => [from, to])).toEqual([
      [0, BROADCAST_HERE],
      [-1, 1],
      [0, AT_ADAPTERS],
      [2, 1],
    ]);
    expect([0, 1, 2].map((port) => counters.get(port, 'handedOver'))).toEqual([1, 0, 1]);
    expect(counters.cells[2 * RECORD_CELLS + CELL.handedOver]).toBe(1);
  });
});

describe('full', () => {
  test('of datagrams; room again when they were taken and not before', () => {
    let count = 0;
    while (put(60, count & 0xff)) count++;
    expect(count).toBe(ENTRIES);
    outgoing.publish();
    expect(put(60, 0)).toBe(false);
    expect(take(1)).toHaveLength(1);
    outgoing.publish();
    expect(put(60, 0), 'taken, but its bytes may still be read').toBe(false);
    incoming.release();
    outgoing.publish();
    expect(put(60, 0)).toBe(true);
    expect(put(60, 0)).toBe(false);
  });

  test('of bytes, with the largest frames', () => {
    let count = 0;
    while (put(65_550, count)) count++;
    expect(count).toBe(Math.floor(DATA_BYTES / (65_600 - (65_600 % 64))));
    outgoing.publish();
    expect(take().map(({ value, even }) => [value, even])).toEqual(
      Array.from({ length: count }, (_, value) => [value, true]),
    );
    incoming.release();
    outgoing.publish();
    expect(put(65_550, 1)).toBe(true);
  });

  test('to the last byte, behind what waits and in front of it', () => {
    const length = 65_536 - 12;
    const most = DATA_BYTES / 65_536;
    const release = (count: number) => {
      outgoing.publish();
      expect(take(count)).toHaveLength(count);
      incoming.release();
      outgoing.publish();
    };
    for (let value = 0; value < most; value++) expect(put(length, value)).toBe(true);
    expect(put(14, 99)).toBe(false);
    release(1);
    expect(put(length, most), 'all that is free in front').toBe(true);
    expect(put(14, 99)).toBe(false);
    release(2);
    for (const value of [most + 1, most + 2]) expect(put(length, value)).toBe(true);
    expect(put(14, 99)).toBe(false);
    outgoing.publish();
    expect(take().map(({ value, even }) => [value, even])).toEqual(
      Array.from({ length: most }, (_, index) => [index + 3, true]),
    );
  });

  test('who brings much leaves a quarter to the others', () => {
    let heavy = 0;
    while (put(60, 0, true)) heavy++;
    expect(heavy).toBe((ENTRIES * 3) / 4);
    let light = 0;
    while (put(60, 0)) light++;
    expect(light).toBe(ENTRIES / 4);
    begin();
    let bytes = 0;
    while (put(60_000, 0, true)) bytes += 60_000;
    expect(bytes).toBeLessThanOrEqual((DATA_BYTES * 3) / 4);
    expect(put(60_000, 0)).toBe(true);
  });
});

describe('impossible', () => {
  test.each([
    ['behind', -2],
    ['too far ahead', ENTRIES + 1],
    ['half the numbers away', 2 ** 31],
  ])('a producer’s index %s: nothing is taken, and then it goes on', (_, distance) => {
    put(60, 1);
    outgoing.publish();
    Atomics.store(words, PRODUCED, (1 + distance) | 0);
    expect(take()).toEqual([]);
    incoming.release();
    expect(incoming.damaged).toBe(1);
    ends(); // the producer is started anew
    put(60, 9);
    outgoing.publish();
    expect(take().map(({ value }) => value)).toEqual([9]);
  });

  test.each([1, ENTRIES + 5, -ENTRIES - 1, 2 ** 31])(
    'a consumer’s index that is off by %i counts as not moved',
    (distance) => {
      for (let index = 0; index < ENTRIES; index++) put(60, 1);
      outgoing.publish();
      Atomics.store(words, CONSUMED, (ENTRIES + distance) | 0);
      expect(put(60, 2)).toBe(false);
      Atomics.store(words, CONSUMED, ENTRIES);
      outgoing.publish();
      expect(put(60, 2)).toBe(true);
    },
  );

  test.each([
    ['offset', -1],
    ['offset', DATA_BYTES],
    ['offset', 2 ** 31 - 1],
    ['length', -1],
    ['length', 13],
    ['length', 65_551],
    ['offset', DATA_BYTES - 12 - 59], // a byte too far
    ['length', 2 ** 31 - 1],
    ['from', -2],
    ['from', PORTS],
    ['to', 0], // not the receiver's
    ['to', PORTS],
    ['to', -1],
    ['to', -1000],
  ] as const)('an entry with %s %i is left out, the others come', (field, value) => {
    for (let index = 0; index < 3; index++) put(60, index);
    words[entryAt(1) + ENTRY[field]] = value;
    outgoing.publish();
    expect(take().map((one) => one.value)).toEqual([0, 2]);
    expect(incoming.damaged).toBe(1);
  });

  test('whatever is written over all of it, nothing is touched outside', () => {
    const random = seeded();
    for (let round = 0; round < 300; round++) {
      for (let index = 0; index < 5; index++) put(random.between(14, 3000), index);
      outgoing.publish();
      for (let count = random.between(0, 20); count > 0; count--)
        words[(START >> 2) + random.between(0, RING.data >> 2)] = random.between(
          -(2 ** 31),
          2 ** 31 - 1,
        );
      take();
      incoming.release();
      if (random.chance(0.2)) ends();
      expect(copies.refused).toBe(0);
    }
    // What it comes to is a ring that works.
    ends();
    take();
    incoming.release();
    ends();
    put(60, 77);
    outgoing.publish();
    expect(take().at(-1)?.value).toBe(77);
  });
});

describe('one end is started anew', () => {
  test('the producer: what it had published stays, what it had only put is gone', () => {
    for (let index = 0; index < 100; index++) put(1000, index);
    outgoing.publish();
    put(1000, 100);
    outgoing = new Outgoing(words, region, START, copies, counters.cells);
    for (let index = 200; index < 220; index++) put(1000, index);
    outgoing.publish();
    const values = take();
    expect(values.every(({ even }) => even)).toBe(true);
    expect(values.map(({ value }) => value)).toEqual([
      ...Array.from({ length: 100 }, (_, index) => index),
      ...Array.from({ length: 20 }, (_, index) => 200 + index),
    ]);
  });

  test('the consumer: goes on with what was not released', () => {
    for (let index = 0; index < 10; index++) put(100, index);
    outgoing.publish();
    take(4);
    incoming.release();
    take(3);
    incoming = new Incoming(words, region, START, receiving, copies, columns, MARK);
    expect(take().map(({ value }) => value)).toEqual([4, 5, 6, 7, 8, 9]);
  });
});
