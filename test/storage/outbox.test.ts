/** A full outbox takes nothing more, and what the base wanted to say by itself is not forgotten silently. */
import { expect, test } from 'vitest';
import { Counters } from '../../src/counters.ts';
import { BASE, Outbox } from '../../src/storage/outbox.ts';

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
