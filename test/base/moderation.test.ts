import { beforeEach, describe, expect, test } from 'vitest';
import { Moderation } from '../../src/base/moderation.ts';

const REST = 0.5;

let time: Float64Array;
let moderation: Moderation;
let sleeps: number;
let rests: number;
let size: number;

beforeEach(() => {
  time = new Float64Array([1000]);
  moderation = new Moderation(time);
  sleeps = rests = 0;
  size = 3;
});

interface Options {
  crowded?: boolean;
  /** How often looking on pays: of 16 sleeps. */
  pays?: number;
}

/**
 * The worker for `milliseconds`. `next` says when the next datagrams come, and how many, when it found nothing more at `now`; asleep it is woken
 * for them, resting it finds all that came until then.
 */
function work(
  milliseconds: number,
  next: (now: number) => { at: number; datagrams: number },
  { crowded = true, pays = 1 }: Options = {},
): void {
  const end = time[0] + milliseconds;
  let coming = next(time[0]);
  while (time[0] < end) {
    if (moderation.resting && moderation.rests(crowded)) {
      rests++;
      time[0] += REST;
    } else {
      sleeps++;
      moderation.fellAsleep(sleeps % 16 < pays, crowded);
      time[0] = Math.max(coming.at, time[0]);
    }
    let found = 0;
    for (; coming.at <= time[0]; coming = next(Math.max(coming.at, time[0] - REST)))
      found += coming.datagrams;
    if (found > 0) moderation.worked(found, size * found);
  }
}

/** `datagrams` at once, each `gap` milliseconds. */
const steady = (datagrams: number, gap: number) => {
  let at = time[0];
  return () => {
    at += gap;
    return { at, datagrams };
  };
};

/** Each answer, found at `now`, is followed by the next question a `gap` later: `datagrams` under way. */
const answers = (datagrams: number, gap: number) => (now: number) => ({
  at: Math.max(now, time[0]) + gap,
  datagrams,
});

describe('a rest', () => {
  test('begins where datagrams come often, and goes on with them', () => {
    work(30, steady(1, 0.1));
    expect(sleeps).toBeLessThan(9 * 34);
    sleeps = rests = 0;
    work(100, steady(1, 0.1));
    expect(sleeps).toBe(0);
    expect(rests).toBe(200);
  });

  test('does not begin where a core is idle, and ends when one is', () => {
    work(100, steady(1, 0.1), { crowded: false });
    expect(rests).toBe(0);
    work(30, steady(1, 0.1));
    expect(rests).toBeGreaterThan(0);
    rests = 0;
    work(300, steady(1, 0.1), { crowded: false });
    expect(rests).toBeLessThanOrEqual(5 * 65);
    rests = 0;
    work(300, steady(1, 0.1), { crowded: false });
    expect(rests).toBe(0);
  });

  test('does not begin where looking for the next datagram pays', () => {
    work(100, steady(1, 0.1), { pays: 16 });
    expect(rests).toBe(0);
  });

  test('is not for a few datagrams, and not for many that come seldom', () => {
    work(100, steady(1, 0.2)); // 5 in a millisecond
    moderation = new Moderation(time);
    work(100, steady(20, 1));
    expect(rests).toBe(0);
  });

  test('ends where datagrams come together, and seldom', () => {
    work(30, steady(1, 0.1));
    expect(moderation.resting).toBe(true);
    work(200, steady(20, 1.2));
    expect(moderation.resting).toBe(false);
  });

  test('ends soon after the datagrams stay away', () => {
    work(100, steady(1, 0.1));
    rests = 0;
    work(200, steady(1, 20));
    expect(rests).toBeLessThanOrEqual(128);
  });

  test('ends where each datagram waits for an answer, and is tried ever more seldom', () => {
    work(100, answers(1, 0.12));
    const first = rests;
    expect(first).toBeGreaterThan(0);
    rests = sleeps = 0;
    work(10_000, answers(1, 0.12));
    expect(rests * REST).toBeLessThan(10_000 / 5);
    expect(sleeps).toBeGreaterThan(10_000);
  });

  /** A datagram after each `awake` or, when it rests, `resting` milliseconds. */
  const paced = (awake: number, resting: number) => {
    let at = time[0];
    return () => {
      at += moderation.resting ? resting : awake;
      return { at, datagrams: 1 };
    };
  };

  test('ends where it makes less come, and is tried seldom then', () => {
    work(10_000, paced(0.1, 0.115));
    expect(rests * REST).toBeGreaterThan(0);
    rests = 0;
    work(10_000, paced(0.1, 0.115));
    expect(rests * REST).toBeLessThan(10_000 / 4);
  });

  test('goes on where it makes more come, but for a look now and then', () => {
    work(100, paced(0.1, 0.09));
    rests = sleeps = 0;
    work(10_000, paced(0.1, 0.09));
    expect(rests * REST).toBeGreaterThan(0.95 * 10_000);
    expect(sleeps).toBeGreaterThan(3 * 256);
  });

  test('goes on where it makes more come, though it leaves a core idle', () => {
    work(500, paced(0.1, 0.08));
    rests = 0;
    work(1000, paced(0.1, 0.08), { crowded: false });
    expect(rests * REST).toBeGreaterThan(0.9 * 1000);
    // It is looked at anew then, and does not begin.
    work(5000, paced(0.1, 0.08), { crowded: false });
    expect(moderation.resting).toBe(false);
  });

  /** As `paced`; three bytes each, and when it rests `grown`. */
  const growing = (resting: number, grown: number) => {
    const next = paced(0.1, resting);
    return () => {
      size = moderation.resting ? grown : 3;
      return next();
    };
  };

  test('does not go on beside an idle core where it brings more than rests can', () => {
    work(200, growing(0.1, 90));
    expect(moderation.resting).toBe(true);
    rests = 0;
    work(1000, growing(0.1, 90), { crowded: false });
    expect(rests).toBeLessThanOrEqual(5 * 65);
  });

  test('is judged by bytes, however large the datagrams become', () => {
    work(10_000, growing(0.25, 9));
    expect(rests * REST).toBeGreaterThan(0.95 * 10_000);
    moderation = new Moderation(time);
    work(10_000, growing(0.4, 9));
    rests = 0;
    work(10_000, growing(0.4, 9));
    expect(rests * REST).toBeLessThan(10_000 / 4);
  });

  test('is tried at once where much more comes, of the same size', () => {
    work(10_000, paced(0.1, 0.3));
    rests = 0;
    work(300, paced(0.04, 0.035));
    expect(rests * REST).toBeGreaterThan(0.8 * 300);
  });

  test('is measured by what came just before', () => {
    work(1000, steady(1, 0.2)); // too little for rests
    rests = 0;
    work(3000, paced(0.05, 0.14));
    expect(rests * REST).toBeLessThan(3000 / 3);
  });

  test('that does not pay is tried seldom in bursts, too', () => {
    for (let burst = 0; burst < 100; burst++) {
      if (burst === 50) rests = 0;
      work(100, answers(1, 0.12));
      time[0] += 60;
    }
    expect(rests * REST).toBeLessThan((50 * 100) / 4);
  });

  test('is tried again though cores are idle now and then', () => {
    work(10_000, paced(0.1, 0.3));
    rests = 0;
    for (let span = 0; span < 20; span++) work(250, paced(0.1, 0.09), { crowded: span % 4 !== 0 });
    expect(rests).toBeGreaterThan(0);
  });

  test('knows nothing of a load of other datagrams, and tries at once', () => {
    work(10_000, paced(0.1, 0.115));
    rests = 0;
    size = 10;
    work(300, paced(0.1, 0.09));
    expect(rests * REST).toBeGreaterThan(0.8 * 300);
  });

  test('is not compared with what was carried while cores were idle', () => {
    work(1000, paced(0.05, 0.05), { crowded: false });
    rests = 0;
    work(300, paced(0.1, 0.09));
    expect(rests * REST).toBeGreaterThan(0.8 * 300);
  });

  test('ends when more comes than the rings may hold', () => {
    work(30, steady(1, 0.1));
    expect(moderation.resting).toBe(true);
    work(60, steady(1, 0.001));
    expect(moderation.resting).toBe(false);
  });

  test('ends when there is none any more', () => {
    work(30, steady(1, 0.1));
    expect(moderation.resting).toBe(true);
    for (let turn = 0; turn < 200; turn++) {
      time[0] += 0.01;
      moderation.worked(100, 100);
    }
    expect(moderation.resting).toBe(false);
  });
});
