import fc from 'fast-check';
import { expect, test } from 'vitest';
import { TokenBuckets } from '../../src/token-buckets.ts';

test('a full bucket gives its burst, then its rate', () => {
  const buckets = new TokenBuckets(2, 10, 3);
  const at = (now: number) => buckets.take(1, now);
  expect([at(5000), at(5000), at(5000), at(5000)]).toEqual([true, true, true, false]);
  expect(at(5099)).toBe(false);
  expect(at(5100)).toBe(true);
  expect(at(5100)).toBe(false);
  // A long time fills it to the brim and no further.
  expect([at(1e9), at(1e9), at(1e9), at(1e9)]).toEqual([true, true, true, false]);
});

test('one port’s flood costs another nothing', () => {
  const buckets = new TokenBuckets(2, 10, 3);
  for (let i = 0; i < 100; i++) buckets.take(0, 1000);
  expect(buckets.take(0, 1000)).toBe(false);
  expect(buckets.take(1, 1000)).toBe(true);
});

test('a rate of 0 gives the burst, once', () => {
  const buckets = new TokenBuckets(1, 0, 2);
  expect([1, 2, 1e12].map((now) => buckets.take(0, now))).toEqual([true, true, false]);
});

test('a clock that steps back gives nothing', () => {
  const buckets = new TokenBuckets(1, 1000, 1);
  expect(buckets.take(0, 5000)).toBe(true);
  expect(buckets.take(0, 1000)).toBe(false);
  expect(buckets.take(0, 5001)).toBe(true);
});

test('never more than burst + rate × time, and no less than the rate when asked often', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 10_000 }),
      fc.integer({ min: 1, max: 50 }),
      fc.array(fc.double({ min: 0, max: 50, noNaN: true }), { minLength: 1, maxLength: 200 }),
      (rate, burst, steps) => {
        const buckets = new TokenBuckets(1, rate, burst);
        let now = 1000;
        let given = 0;
        for (const step of steps) {
          now += step;
          if (buckets.take(0, now)) given++;
        }
        expect(given).toBeLessThanOrEqual(burst + ((now - 1000) * rate) / 1000 + 1e-6);
        expect(given).toBeGreaterThanOrEqual(Math.min(steps.length, burst));
      },
    ),
  );
});
