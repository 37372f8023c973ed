/**
 * When the next timer of the turn worker is due. Who sets a timer brings this forward, so that a sleep that was planned before does not
 * oversleep it.
 */
export class Deadline {
  /** Milliseconds of the worker's clock. A cell and no field, as in `Turn.time`: it changes all the time. */
  readonly at = new Float64Array(1);

  /** Timers want to be looked at by then, or earlier. */
  by(time: number): void {
    if (time < this.at[0]) this.at[0] = time;
  }

  /** True when timers are to be looked at; they must then say `by` when again. */
  take(now: number): boolean {
    if (now < this.at[0]) return false;
    this.at[0] = Number.POSITIVE_INFINITY;
    return true;
  }

  /** Whole microseconds until then, rounded up: how long to sleep at most. */
  left(now: number): number {
    return Math.max(0, Math.ceil((this.at[0] - now) * 1000));
  }
}
