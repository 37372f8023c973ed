/** Which cores a thread runs on: what the kernel says of the calling one, and what is refused. */
import { afterEach, expect, test } from 'vitest';
import { native } from '../../src/native.ts';
import { allowedCores, usableCores } from '../../src/supervision/idle-cores.ts';

const before = usableCores();
const cores = (): number[] => [...allowedCores('/proc/thread-self/status')];

afterEach(() => native.setCores(0, Int32Array.from(before)));

test('a thread runs where it was put', () => {
  for (const core of before) {
    native.setCores(0, Int32Array.of(core));
    expect(cores()).toEqual([core]);
  }
});

test('impossible cores, and threads that there are not, are refused', () => {
  expect(() => native.setCores(0, Int32Array.of(8192))).toThrow(RangeError);
  expect(() => native.setCores(0, Int32Array.of(-1))).toThrow(RangeError);
  expect(() => native.setCores(0, Int32Array.of())).toThrow(/EINVAL/);
  expect(() => native.setCores(0x7fffffff, Int32Array.from(before))).toThrow(/ESRCH/);
  expect(() => native.setCores(1, Int32Array.from(before))).toThrow(/ESRCH/); // somebody else's
  expect(cores()).toEqual(before);
});
