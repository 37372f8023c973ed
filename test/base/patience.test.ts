import { beforeEach, describe, expect, test } from 'vitest';
import { Patience } from '../../src/base/patience.ts';
import { LEAST_SPIN } from '../../src/turn/attention.ts';

const SPIN = 0.05;

let time: Float64Array;
let patience: Patience;
/** Looks in vain so far: a whole SPIN each. */
let inVain: number;
let asleep: number;

beforeEach(() => {
  time = new Float64Array([1000]);
  patience = new Patience(time);
  patience.worked();
  inVain = 0;
  asleep = 0;
});

/** As the worker does it: the next work comes after `gap` milliseconds. */
function pass(gap: number): void {
  const spin = patience.pays ? SPIN : LEAST_SPIN;
  if (gap > spin) {
    if (spin === SPIN) inVain++;
    asleep++;
    time[0] += spin;
    patience.fellAsleep();
    patience.fellAsleep(); // a deadline woke us, and there was nothing to do
    time[0] += gap - spin;
  } else time[0] += gap;
  patience.worked();
}

describe('looking on', () => {
  test('pays while what comes next comes soon', () => {
    for (let i = 0; i < 1000; i++) pass(0.03);
    expect(asleep).toBe(0);
  });

  test('is given up when nothing comes, but for a try now and then', () => {
    for (let i = 0; i < 1600; i++) pass(1);
    expect(asleep).toBe(1600);
    expect(inVain).toBeGreaterThan(90);
    expect(inVain).toBeLessThan(110);
  });

  test('is taken up again once something comes soon', () => {
    for (let i = 0; i < 100; i++) pass(1);
    for (let i = 0; i < 20; i++) pass(0.03);
    expect(patience.pays).toBe(true);
    asleep = 0;
    for (let i = 0; i < 1000; i++) pass(0.03);
    expect(asleep).toBe(0);
  });

  test('pays with four hits for each miss, and not with two', () => {
    for (let i = 0; i < 1000; i++) pass(i % 5 === 0 ? 1 : 0.03);
    expect(inVain).toBe(200);
    inVain = 0;
    for (let i = 0; i < 999; i++) pass(i % 3 === 0 ? 1 : 0.03);
    expect(inVain).toBeLessThan(200);
  });

  test('what comes at once says nothing about pauses', () => {
    for (let i = 0; i < 100; i++) pass(1);
    for (let i = 0; i < 1000; i++) pass(LEAST_SPIN / 2);
    expect(patience.pays).toBe(false);
  });
});
