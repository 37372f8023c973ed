/**
 * Seeded random numbers for tests. The seed of a failing test is printed; BASEWIRE_SEED repeats it.
 */
import { onTestFailed } from 'vitest';

/** xorshift128 over 32-bit words: small, fast, the same sequence everywhere. */
export class Random {
  readonly seed: number;
  #a: number;
  #b: number;
  #c: number;
  #d: number;

  constructor(seed: number) {
    this.seed = seed >>> 0;
    // splitmix32 spreads close seeds apart
    let state = this.seed;
    const next = () => {
      state = (state + 0x9e3779b9) | 0;
      let z = state;
      z = Math.imul(z ^ (z >>> 16), 0x21f0aaad);
      z = Math.imul(z ^ (z >>> 15), 0x735a2d97);
      return (z ^ (z >>> 15)) | 0;
    };
    this.#a = next() | 1;
    this.#b = next();
    this.#c = next();
    this.#d = next();
  }

  /** 0 .. 2^32-1 */
  word(): number {
    const t = this.#a ^ (this.#a << 11);
    this.#a = this.#b;
    this.#b = this.#c;
    this.#c = this.#d;
    this.#d = this.#d ^ (this.#d >>> 19) ^ t ^ (t >>> 8);
    return this.#d >>> 0;
  }

  /** 0 .. limit-1 */
  below(limit: number): number {
    return Math.floor((this.word() / 0x1_0000_0000) * limit);
  }

  /** low .. high, both included */
  between(low: number, high: number): number {
    return low + this.below(high - low + 1);
  }

  chance(probability: number): boolean {
    return this.word() < probability * 0x1_0000_0000;
  }

  pick<T>(choices: readonly T[]): T {
    return choices[this.below(choices.length)];
  }

  bytes(length: number): Buffer {
    const bytes = Buffer.alloc(length);
    for (let i = 0; i < length; i++) bytes[i] = this.word() >>> 24;
    return bytes;
  }

  /** A random 64-bit number. */
  long(): bigint {
    return (BigInt(this.word()) << 32n) | BigInt(this.word());
  }
}

/** A generator for the running test: seeded by BASEWIRE_SEED or by the clock, the seed printed on failure. */
export function seeded(): Random {
  const given = process.env.BASEWIRE_SEED;
  const seed = given === undefined ? Date.now() >>> 0 : Number(given) >>> 0;
  onTestFailed(() => console.error(`repeat with BASEWIRE_SEED=${seed}`));
  return new Random(seed);
}

/** True when the long forms of tests were asked for. */
export const LONG = process.env.BASEWIRE_LONG === '1';

/** Milliseconds that a random test lasts: `short`, ten minutes in the long form, or BASEWIRE_SECONDS. */
export function duration(short: number): number {
  const given = process.env.BASEWIRE_SECONDS;
  if (given !== undefined) return Number(given) * 1000;
  return LONG ? 600_000 : short;
}
