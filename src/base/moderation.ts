/**
 * Whether to wait out notifications together. Where datagrams come often, but too far apart to look for the next one, each of them costs a
 * notification, a wake-up and the guest whose core we take for it. As long as others use all cores, the base rests instead: it looks again
 * after a while, and nobody notifies it meanwhile. It goes on with that as long as not much less comes than before.
 * See docs/decisions/0028-rests-where-no-core-is-idle.md.
 */

/** Sleeps, and rests, after which it is weighed again: some milliseconds, as bursts may come that say little. */
const SLEEPS = 32;
const RESTS = 64;
/** Sleeps per millisecond from which a rest may pay, and datagrams: above the most, a VM's ring of 256 may be full before we look. */
const SLEEPS_PER_MS = 2;
const LEAST_PER_MS = 6;
const MOST_PER_MS = 256;
/** So much of what came per millisecond without rests, on average, has to come with them, too. */
const KEPT = 0.5;
const AVERAGED = 1 / 8;
/** So many rests have to bring something: less often, notifications wake us as seldom. */
const FRUITFUL = 0.75;
/** Turns in a row that found something: there is no pause to rest in. */
const BUSY = 64;
/** Sleeps are weighed 2, 4, ... times more when rests did not pay, up to so many. */
const LONGEST = 64;
/** Milliseconds that are never divided by less. */
const LEAST_SPAN = 0.001;

export class Moderation {
  /** Rests, rather than asking for notifications. */
  resting = false;
  /** Sleeps or rests, and datagrams, since it was weighed. */
  private count = 0;
  private found = 0;
  /** Turns that found something since the last rest, and rests behind which one did. */
  private turns = 0;
  private fruitful = 0;
  /** How many times SLEEPS are weighed. */
  private caution = 1;
  /** Since when it is counted, in milliseconds, and datagrams per millisecond without rests. In cells, see `Turn.time`. */
  private readonly cells: Float64Array;
  private readonly time: Float64Array;

  /** `time`: now, in milliseconds. */
  constructor(time: Float64Array) {
    this.time = time;
    this.cells = new Float64Array([time[0], 0]);
  }

  /** A turn found so many datagrams. */
  worked(found: number): void {
    this.found = (this.found + found) & 0x3fffffff;
    if (!this.resting) return;
    if (this.turns++ === 0) this.fruitful++;
    if (this.turns > BUSY) this.end();
  }

  /** While resting, nothing is left to do: whether to rest once more. `crowded`: others use all cores. */
  rests(crowded: boolean): boolean {
    if (!crowded) this.end();
    else if (++this.count > RESTS) {
      const rate = this.found / (this.time[0] - this.cells[0]);
      if (rate > MOST_PER_MS || this.fruitful < FRUITFUL * RESTS) this.end();
      else if (rate < KEPT * this.cells[1]) {
        this.end();
        this.caution = Math.min(2 * this.caution, LONGEST);
      } else {
        this.caution = 1;
        this.begin();
      }
    }
    this.turns = 0;
    return this.resting;
  }

  /** Called before each sleep that a notification may end. `pays`: looking for the next datagram still pays, which is better than a rest. */
  fellAsleep(pays: boolean, crowded: boolean): void {
    // Looking is tried now and then where it does not pay: this must not begin anew each time.
    if (!pays && ++this.count >= SLEEPS * this.caution) {
      const elapsed = Math.max(this.time[0] - this.cells[0], LEAST_SPAN);
      const often = this.count > SLEEPS_PER_MS * elapsed;
      const rate = this.found / elapsed;
      this.resting = crowded && often && rate > LEAST_PER_MS && rate < MOST_PER_MS;
      const before = this.cells[1];
      this.cells[1] = before === 0 ? rate : before + AVERAGED * (rate - before);
      this.begin();
    }
  }

  private end(): void {
    this.resting = false;
    this.turns = 0;
    this.begin();
  }

  /** Counts anew. */
  private begin(): void {
    this.cells[0] = this.time[0];
    this.found = 0;
    this.fruitful = 0;
    this.count = 0;
  }
}
