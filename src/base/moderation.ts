/**
 * Whether to wait out the VMs' notifications together. Where datagrams come often, but too far apart to look for the next one, each of
 * them costs a notification, a wake-up and the guest whose core we take for it. As long as no core is idle, the base rests instead: it looks
 * again after a while, and nobody notifies it meanwhile. See docs/decisions/0028-rests-where-no-core-is-idle.md.
 */

/** Sleeps, and rests, after which it is weighed again. */
const SLEEPS = 32;
const RESTS = 8;
/** Sleeps per millisecond, and datagrams per millisecond, from which a rest pays; and datagrams that keep it up. */
const SLEEPS_PER_MS = 4;
const DATAGRAMS_PER_MS = 6;
const KEPT_PER_MS = 3;

export class Moderation {
  /** Sleeps or rests, and datagrams, since it was weighed. */
  private count = 0;
  private found = 0;
  /** Rests, rather than asking for notifications. */
  resting = false;
  /** Since when they are counted, in milliseconds. A cell, see `Turn.time`. */
  private readonly since: Float64Array;
  private readonly time: Float64Array;

  /** `time`: now, in milliseconds. */
  constructor(time: Float64Array) {
    this.time = time;
    this.since = new Float64Array([time[0]]);
  }

  /** A turn found so many datagrams. */
  worked(found: number): void {
    this.found += found;
  }

  /** While resting, nothing is left to do: whether to rest once more. `crowded`: no core is idle. */
  rests(crowded: boolean): boolean {
    if (!crowded) this.resting = false;
    else if (++this.count > RESTS) this.weigh(KEPT_PER_MS);
    return this.resting;
  }

  /** Called before each sleep that a notification may end. `pays`: looking for the next datagram still pays, which is better than a rest. */
  fellAsleep(pays: boolean, crowded: boolean): void {
    if (pays || ++this.count < SLEEPS) return;
    const often = SLEEPS > SLEEPS_PER_MS * (this.time[0] - this.since[0]);
    this.weigh(DATAGRAMS_PER_MS);
    if (!often || !crowded) this.resting = false;
  }

  /** Rests are for `needed` datagrams per millisecond. Counts anew. */
  private weigh(needed: number): void {
    this.resting = this.found >= needed * (this.time[0] - this.since[0]);
    this.since[0] = this.time[0];
    this.found = 0;
    this.count = 0;
  }
}
