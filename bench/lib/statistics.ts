/**
 * Numbers from interleaved rounds: medians, spread, ratio per round, and whether the machine was quiet enough to say
 * anything.
 */

export interface Summary {
  values: number[];
  median: number;
  /** (largest - smallest) / median. */
  spread: number;
}

/** One comparison: ours divided by the peer's in the same round (or the other way round where less is better). */
export interface Comparison {
  against: string;
  /** One per round, 1 = equal, larger is better for us. */
  ratios: number[];
  median: number;
  required: number | null;
  verdict: Verdict;
}

/** `noisy`: the rounds disagree about whether the limit was reached, and the machine was not quiet; or there is nothing to compare. */
export type Verdict = 'reached' | 'missed' | 'noisy' | 'shown';

export interface Noise {
  /** Largest share of one core that other processes used in a round. */
  foreign: number;
  /** Largest share of one core that the hypervisor took in a round. */
  steal: number;
  /** Largest spread of a candidate. */
  spread: number;
  quiet: boolean;
}

/** Above these a run is called noisy. */
export const QUIET = { foreign: 0.05, steal: 0.03, spread: 0.1 };

export function median(values: readonly number[]): number {
  if (values.length === 0) return Number.NaN;
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

export function percentile(values: readonly number[], share: number): number {
  if (values.length === 0) return Number.NaN;
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))]!;
}

/**
 * p50, p99 and worst of round trips, of which those that were lost (NaN) count with `atLeast`, the time after which they were given up: left
 * out, they would leave the others to look quick.
 */
export function roundTrips(times: ArrayLike<number>, atLeast: number) {
  const all = Array.from(times, (time) => (Number.isNaN(time) ? atLeast : time));
  return { p50: percentile(all, 0.5), p99: percentile(all, 0.99), worst: percentile(all, 1) };
}

export function summarise(values: number[]): Summary {
  const middle = median(values);
  const spread = values.length > 1 ? (Math.max(...values) - Math.min(...values)) / middle : 0;
  return { values, median: middle, spread };
}

export function judgeNoise(
  readings: { foreign: number; steal: number }[],
  spreads: number[],
): Noise {
  const largest = (numbers: number[]) => Math.max(0, ...numbers);
  const foreign = largest(readings.map((reading) => reading.foreign));
  const steal = largest(readings.map((reading) => reading.steal));
  const spread = largest(spreads);
  const quiet = foreign <= QUIET.foreign && steal <= QUIET.steal && spread <= QUIET.spread;
  return { foreign, steal, spread, quiet };
}

/**
 * Compares round by round. `less` is for quantities of which less is better (time). `required` null only shows the ratio. Throws where a round gave
 * nothing that is a number above 0: whoever ended or stood still has failed, and is neither slow nor infinitely quick.
 */
export function compare(
  against: string,
  ours: number[],
  theirs: number[],
  required: number | null,
  quiet: boolean,
  less = false,
): Comparison {
  for (const [who, values] of [
    ['basewire', ours],
    [against, theirs],
  ] as const) {
    const failed = values.find((value) => !(value > 0 && Number.isFinite(value)));
    if (failed !== undefined) throw new Error(`${who} has failed in a round, which gave ${failed}`);
  }
  const ratios = ours
    .slice(0, theirs.length)
    .map((value, round) => (less ? theirs[round]! / value : value / theirs[round]!));
  const middle = median(ratios);
  let verdict: Verdict = 'shown';
  if (required !== null) {
    verdict = middle >= required ? 'reached' : 'missed';
    const disagree =
      ratios.some((ratio) => ratio >= required) && ratios.some((ratio) => ratio < required);
    // Without a pair that can be compared nothing is known.
    if ((!quiet && disagree) || ratios.length === 0) verdict = 'noisy';
  }
  return { against, ratios, median: middle, required, verdict };
}
