/**
 * How long a line of a cache takes from one core to another and back. Two of these run, one per core, over the same page: one asks (makes
 * a number odd), the other answers (makes it even again). Each measures whenever a line comes on standard input, and sleeps in between.
 */
import { openSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { native } from '../../src/native.ts';
import { argument, result } from './probe.ts';

export interface Argument {
  /** Of the page. */
  path: string;
  asks: boolean;
}

/** Nanoseconds there and back; null when the other one did not answer. */
export interface Reading {
  nanoseconds: number | null;
}

const OVER = -1;
const SLICES = 24;
const TRIPS = 500;
const PATIENCE = 1000; // milliseconds

const { path, asks } = argument<Argument>();
const page = native.mapRegion(openSync(path, 'r+'), 0, 4096);
const ball = new Int32Array(native.viewRegion(page, 0, 4));

/** True once the ball has come to `state`; false when it does not. */
function comesTo(state: (value: number) => boolean): boolean {
  const end = performance.now() + PATIENCE;
  for (let look = 1; !state(Atomics.load(ball, 0)); look++)
    if (look % 4096 === 0 && performance.now() > end) return false;
  return true;
}

const even = (value: number): boolean => (value & 1) === 0;

/** Nanoseconds of a trip, of the best slice: others may have used one of the cores meanwhile. */
function ask(): number | null {
  Atomics.store(ball, 0, 1);
  let best: number | null = null;
  if (comesTo(even)) {
    for (let slice = 0; slice < SLICES; slice++) {
      const start = performance.now();
      for (let trip = 0; trip < TRIPS; trip++) {
        Atomics.store(ball, 0, 1);
        if (!comesTo(even)) {
          Atomics.store(ball, 0, OVER);
          return null;
        }
      }
      const each = ((performance.now() - start) * 1e6) / TRIPS;
      if (best === null || each < best) best = each;
    }
  }
  Atomics.store(ball, 0, OVER);
  comesTo((value) => value === 0); // the other one has seen it, and does not take the next measurement for this one
  return best;
}

function answer(): void {
  const end = performance.now() + PATIENCE;
  for (let look = 1; ; look++) {
    const value = Atomics.load(ball, 0);
    if (value === 1) Atomics.store(ball, 0, 2);
    else if (value === OVER) break;
    if (look % 65536 === 0 && performance.now() > end) break;
  }
  Atomics.store(ball, 0, 0);
}

for await (const _line of createInterface({ input: process.stdin })) {
  if (asks) result({ nanoseconds: ask() } satisfies Reading);
  else answer();
}
