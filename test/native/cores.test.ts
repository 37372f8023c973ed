/** Which cores a thread runs on: what the kernel says of the calling one, and what is refused. */
import { readFileSync } from 'node:fs';
import { afterEach, expect, test } from 'vitest';
import { native } from '../../src/native.ts';
import { allowedCores, coreList, onlineCores } from '../../src/supervision/idle-cores.ts';

const online = onlineCores()!;
const before = [...allowedCores()].filter((core) => online.has(core));
const cores = (): number[] => {
  const status = readFileSync('/proc/thread-self/status', 'utf8');
  return [...coreList(/^Cpus_allowed_list:\s*(\S+)$/m.exec(status)![1]!)];
};

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
