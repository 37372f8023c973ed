/** The turn worker's clock: what it writes, and that it is the system's monotonic one. */
import { expect, test } from 'vitest';
import { native } from '../../src/native.ts';

test('readClock writes the milliseconds of CLOCK_MONOTONIC into its cell, and returns nothing', () => {
  for (let i = 0; i < 1000; i++) {
    const before = Number(process.hrtime.bigint()) / 1e6;
    expect(native.readClock()).toBeUndefined();
    const after = Number(process.hrtime.bigint()) / 1e6;
    // A double of nanoseconds since boot may be rounded.
    expect(native.clock[0]).toBeGreaterThanOrEqual(before - 0.001);
    expect(native.clock[0]).toBeLessThanOrEqual(after + 0.001);
  }
});

test('the cell is one number, the same for the life of the thread', () => {
  const { clock } = native;
  expect(clock).toBeInstanceOf(Float64Array);
  expect(clock.length).toBe(1);
  native.readClock();
  expect(native.clock).toBe(clock);
});

test('readWorked writes the time that the thread had a processor: not that of a wait', () => {
  native.readWorked();
  const [before] = native.worked;
  const start = performance.now();
  while (performance.now() - start < 20);
  native.readWorked();
  const [busy] = native.worked;
  expect(busy).toBeGreaterThan(before);
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 200);
  native.readWorked();
  expect(native.worked[0] - busy).toBeLessThan(100);
});
