/** When the worker's timers are looked at, with times of the test's. */
import { expect, test } from 'vitest';
import { Deadline } from '../../src/base/deadline.ts';

test('is due at once to begin with, then when it was said', () => {
  const deadline = new Deadline();
  expect(deadline.take(0)).toBe(true);
  expect(deadline.take(1e9), 'nobody said when again').toBe(false);
  deadline.by(500);
  expect(deadline.take(499.5)).toBe(false);
  expect(deadline.left(499.5)).toBe(500);
  expect(deadline.take(500)).toBe(true);
});

test('a timer that is set later brings it forward, never puts it off', () => {
  const deadline = new Deadline();
  deadline.take(0);
  deadline.by(1000);
  deadline.by(20);
  deadline.by(2000);
  expect(deadline.left(0)).toBe(20_000);
  expect(deadline.left(30)).toBe(0);
  expect(deadline.take(20)).toBe(true);
});
