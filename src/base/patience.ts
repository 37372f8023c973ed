/**
 * Whether to look on after the last work, or to sleep at once. Looking costs a core that the guests may want; sleeping costs a
 * notification, a wake-up and its time. Looking pays where the next work mostly comes while we look. Where it does not, this notices: a
 * look in vain weighs as much as three that found something. Now and then it is tried again.
 */
import { LEAST_SPIN } from '../turn/attention.ts';

/** Highest score: so many looks that found something are remembered; and what one in vain takes from it. */
const MOST = 16;
const IN_VAIN = 3;
/** Sleeps between two tries. */
const TRIED_AGAIN = 16;

export class Patience {
  /** Above 0: looking pays. */
  private score = MOST;
  private asleep = false;
  private trying = false;
  private sleeps = 0;
  private readonly lastWork = new Float64Array(1);
  private readonly time: Float64Array;

  /** `time`: now, in milliseconds. */
  constructor(time: Float64Array) {
    this.time = time;
  }

  /** Whether to look on for as long as is allowed; otherwise for LEAST_SPIN. */
  get pays(): boolean {
    return this.score > 0 || this.trying;
  }

  /** A turn found something. */
  worked(): void {
    const now = this.time[0];
    // What came within LEAST_SPIN was no pause.
    if (!this.asleep && this.score < MOST && now - this.lastWork[0] >= LEAST_SPIN) this.score++;
    this.asleep = false;
    this.lastWork[0] = now;
  }

  /** Nothing came while we looked. Called before each sleep; those behind the first, without work in between, don't count. */
  fellAsleep(): void {
    if (this.asleep) return;
    this.asleep = true;
    if (this.pays) this.score = Math.max(0, this.score - IN_VAIN);
    if (++this.sleeps === TRIED_AGAIN) this.sleeps = 0;
    this.trying = this.sleeps === 0;
  }
}
