/**
 * How much of a turn worker's time requests take. They are cheap to send, many in one write, and each costs the worker microseconds in which no
 * datagram of any VM moves. So the front-ends of a VM have an allowance of its time. A device's start needs a few milliseconds, with the most
 * memory slots some fifty; who goes on and on waits, and gets a share from then on. VMs that do so together share one. It is more than a
 * front-end can take that waits for each answer before it asks for the next.
 *
 * Signals that take long have an allowance of the same kind for themselves (`port-control.ts`): who asks for much has used up the other, and an interrupt or the
 * hypervisor may take its time from any signal.
 */

/** What of the worker's time all that ask for something may take for ever, and all whose signals take long. */
export const REQUESTS_SHARE = 0.25;
export const SIGNALS_SHARE = 0.1;
/** Milliseconds that a VM may take at once. */
const BURST = 100;
/** Milliseconds of it that somebody who was kept waiting begins with again. */
const LEAST = 0.1;
/** Milliseconds over which it is counted how many those are. */
const WINDOW = 2000;
/** Milliseconds that anybody is kept waiting at most: a front-end that goes meanwhile is noticed only then. And who has taken more than BURST at once. */
const LONGEST_WAIT = 1000;
const LONGEST_PENALTY = 30_000;
/** Milliseconds of all requests between two turns: mapping memory takes longer than other requests. */
export const ROUND = 0.5;

/** What the VMs of one worker share: at most `share` of its time. */
export class SharedTime {
  private readonly share: number;
  /** Number of the window, and VMs that asked for something in it and in the one before. */
  private window = -1;
  private now = 0;
  private before = 0;
  /** The last look at the sockets, and when its round ends. */
  private look = -1;
  private end = 0;

  constructor(share: number) {
    this.share = share;
  }

  /** Milliseconds of the clock until which requests are served in this look at the sockets, the `look`th. */
  roundEnd(look: number, now: number): number {
    if (look !== this.look) {
      this.look = look;
      this.end = now + ROUND;
    }
    return this.end;
  }

  /** A VM asks for something, and did so last in the window `counted`; the number of this one. */
  count(counted: number, now: number): number {
    const window = this.windowOf(now);
    if (counted !== window) this.now++;
    return window;
  }

  /** What a VM earns of the time that passes. */
  rate(now: number): number {
    this.windowOf(now);
    return this.share / Math.max(1, this.now, this.before);
  }

  private windowOf(now: number): number {
    const window = Math.floor(now / WINDOW);
    if (window !== this.window) {
      this.before = window === this.window + 1 ? this.now : 0;
      this.now = 0;
      this.window = window;
    }
    return window;
  }
}

/** One VM's. */
export class Allowance {
  private readonly shared: SharedTime;
  private credit = BURST;
  private at = Number.NEGATIVE_INFINITY;
  private counted = -1;

  constructor(shared: SharedTime) {
    this.shared = shared;
  }

  /** See `SharedTime`. */
  roundEnd(look: number, now: number): number {
    return this.shared.roundEnd(look, now);
  }

  /**
   * Requests were served, or signals made, until `now`, and took `worked` milliseconds of a processor: the worker may have lost its core in their midst. One request may
   * take long, where its front-end has a million of watches on what is signalled. Milliseconds until there is time for more; 0: at once.
   */
  spend(now: number, worked: number): number {
    this.counted = this.shared.count(this.counted, now);
    const rate = this.shared.rate(now);
    const earned = Math.min(BURST, this.credit + Math.max(0, now - this.at) * rate);
    this.credit = earned - worked;
    this.at = now;
    const most = worked > BURST ? LONGEST_PENALTY : LONGEST_WAIT;
    return this.credit > 0 ? 0 : Math.min(most, (LEAST - this.credit) / rate);
  }
}
