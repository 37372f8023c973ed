import { describe, expect, test } from 'vitest';
import { TrainSums } from '../../src/adapter/train-sums.ts';
import type { Native } from '../../src/native.ts';
import { BaseStorage } from '../../src/storage/base-storage.ts';
import { sumBytes } from '../../src/wire/checksum.ts';

const SKIPPED = 34;
const MOST = 4;

/** Storage with frames of these lengths for these receivers, and how many ranges each native call had. */
function make(frames: [length: number, to: number][]) {
  const storage = new BaseStorage(new ArrayBuffer(1 << 16), 1 << 16, 64);
  const calls: number[] = [];
  const native = {
    sumRanges: (ranges: Int32Array, count: number) => {
      calls.push(count);
      for (let i = 0; i < 2 * count; i += 2)
        ranges[i] = sumBytes(storage.bytes, ranges[i], ranges[i + 1]);
      return 0;
    },
  } as unknown as Native;
  for (const [length, to] of frames) {
    const slot = storage.take(0, length);
    storage.to[slot] = to;
    for (let i = 0; i < length; i++) storage.bytes[storage.at[slot] + i] = 7 * slot + i;
  }
  const sums = new TrainSums(native, storage, SKIPPED, MOST);
  const right = (slot: number) =>
    sumBytes(storage.bytes, storage.at[slot] + SKIPPED, storage.length[slot] - SKIPPED);
  return { storage, sums, calls, right };
}

describe('sums of what a train may take', () => {
  test('one call for those that follow, as many as are asked for at once', () => {
    const { sums, calls, right } = make(Array.from({ length: 6 }, () => [101, 9]));
    for (let slot = 0; slot < 6; slot++) expect(sums.of(slot)).toBe(right(slot));
    expect(calls).toEqual([4, 2]);
  });

  test('ends where a longer one or another receiver comes, and with the last slot', () => {
    const { sums, calls, right } = make([
      [100, 9],
      [90, 9],
      [101, 9],
      [90, 8],
      [90, 8],
      [SKIPPED, 8],
    ]);
    for (let slot = 0; slot < 5; slot++) expect(sums.of(slot)).toBe(right(slot));
    expect(calls).toEqual([2, 1, 2]);
  });

  test('goes back when it is asked to, and forgets when the slots are filled anew', () => {
    const { storage, sums, calls, right } = make([
      [80, 9],
      [100, 9],
    ]);
    expect(sums.of(1)).toBe(right(1));
    expect(sums.of(0)).toBe(right(0));
    expect(sums.of(0)).toBe(right(0));
    expect(calls).toEqual([1, 1]);
    sums.forget();
    storage.bytes[storage.at[0] + 50] ^= 0x55;
    expect(sums.of(0)).toBe(right(0));
  });
});
