import { beforeEach, describe, expect, test } from 'vitest';
import { Moderation } from '../../src/base/moderation.ts';

const REST = 0.5;

let time: Float64Array;
let moderation: Moderation;
let sleeps: number;
let rests: number;

beforeEach(() => {
  time = new Float64Array([1000]);
  moderation = new Moderation(time);
  sleeps = rests = 0;
});

interface Traffic {
  /** Datagrams that come at once, and milliseconds between. */
  datagrams: number;
  gap: number;
  crowded?: boolean;
  pays?: boolean;
}

/** `milliseconds` of traffic, with the worker asleep or resting in each gap. */
function pass(
  milliseconds: number,
  { datagrams, gap, crowded = true, pays = false }: Traffic,
): void {
  let next = time[0];
  for (const end = time[0] + milliseconds; time[0] < end; ) {
    let found = 0;
    for (; next <= time[0]; next += gap) found += datagrams;
    moderation.worked(found);
    if (moderation.resting && moderation.rests(crowded)) {
      rests++;
      time[0] += REST;
    } else {
      sleeps++;
      moderation.fellAsleep(pays, crowded);
      time[0] = Math.max(next, time[0]);
    }
  }
}

describe('a rest', () => {
  test('begins where datagrams come often, and goes on with them', () => {
    pass(5, { datagrams: 1, gap: 0.1 });
    expect(sleeps).toBe(32);
    sleeps = rests = 0;
    pass(100, { datagrams: 1, gap: 0.1 });
    expect(sleeps).toBe(0);
    expect(rests).toBe(200);
  });

  test('does not begin where a core is idle, and ends when one is', () => {
    pass(100, { datagrams: 1, gap: 0.1, crowded: false });
    expect(rests).toBe(0);
    pass(5, { datagrams: 1, gap: 0.1 });
    expect(rests).toBeGreaterThan(0);
    rests = 0;
    pass(100, { datagrams: 1, gap: 0.1, crowded: false });
    expect(rests).toBe(0);
  });

  test('does not begin where looking for the next datagram pays', () => {
    pass(100, { datagrams: 1, gap: 0.1, pays: true });
    expect(rests).toBe(0);
  });

  test('is not for a few datagrams, and not for many that come seldom', () => {
    pass(100, { datagrams: 1, gap: 0.2 }); // 5 in a millisecond
    pass(100, { datagrams: 20, gap: 1 });
    expect(rests).toBe(0);
  });

  test('ends soon after the datagrams stay away', () => {
    pass(100, { datagrams: 1, gap: 0.1 });
    rests = 0;
    pass(100, { datagrams: 1, gap: 20 });
    expect(rests).toBeLessThanOrEqual(16);
  });
});
