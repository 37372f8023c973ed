/** A full outbox takes nothing more, and what the base wanted to say by itself is not forgotten silently. */
import { expect, test } from 'vitest';
import { Counters } from '../../src/counters.ts';
import { HEADER_BYTES } from '../../src/storage/base-storage.ts';
import { BASE, Outbox } from '../../src/storage/outbox.ts';
import { dirtyStorage, frameOf } from '../support/slots.ts';

test('what the base says to a port and a full outbox refuses is `missed` there; what came from a port is its sender’s matter', () => {
  const counters = new Counters(2);
  const outbox = new Outbox(counters);
  const packet = new Uint8Array(12 + 60);
  let taken = 0;
  while (outbox.add(BASE, 1, packet)) taken++;
  expect(taken).toBe(2048);
  expect(outbox.add(0, 1, packet)).toBe(false);
  expect([counters.get(1, 'missed'), counters.get(0, 'missed')]).toEqual([1, 0]);
  expect(counters.get(0, 'waiting')).toBe(0);
});

/** A packet that says which it is. */
function numbered(number: number, frame = 60): Uint8Array {
  return new Uint8Array(HEADER_BYTES + frame).fill(number, HEADER_BYTES);
}

test('what base storage has no room for stays, in order, and waits in its sender’s books', () => {
  const counters = new Counters(2);
  const outbox = new Outbox(counters);
  const storage = dirtyStorage(1 << 20, 2);
  for (let number = 1; number <= 5; number++) outbox.add(0, 1, numbered(number));
  const seen: number[] = [];
  for (const waiting of [3, 1, 0]) {
    storage.clear();
    outbox.moveTo(storage);
    for (let slot = 0; slot < storage.count; slot++) seen.push(frameOf(storage, slot)[0]);
    expect([counters.get(0, 'waiting'), outbox.length]).toEqual([waiting, waiting]);
  }
  expect(seen).toEqual([1, 2, 3, 4, 5]);
});

test('it holds no more than 4 MiB, and as much again once it was emptied', () => {
  const outbox = new Outbox(new Counters(2));
  const storage = dirtyStorage(8 << 20);
  const packet = numbered(1, 60_000);
  const most = Math.floor((4 << 20) / packet.length);
  for (let time = 0; time < 3; time++) {
    let taken = 0;
    while (outbox.add(BASE, 1, packet)) taken++;
    expect(taken).toBe(most);
    storage.clear();
    outbox.moveTo(storage);
    expect(storage.count).toBe(most);
  }
});
