/**
 * Whether to wait out notifications together. Where datagrams come often, but too far apart to look for the next one, each of them costs a
 * notification, a wake-up and the guest whose core we take for it. Where others use all cores, the base tries to rest instead: it looks again
 * after a while, and nobody notifies it meanwhile. It goes on with that as long as no less is delivered than without; both are tried by turns.
 * See docs/decisions/0028-rests-where-no-core-is-idle.md.
 */

/** Sleeps, and rests, that are weighed together: some ten milliseconds, as bursts may come that say little. */
const SLEEPS = 256;
const RESTS = 64;
/** Sleeps per millisecond from which on a rest may pay. */
const SLEEPS_PER_MS = 2;
/** Datagrams per millisecond between which one may: with more, a VM's ring of 256 may be full before we look. */
const LEAST_PER_MS = 6;
const MOST_PER_MS = 256;
/** So much of the bytes that were delivered per millisecond without rests has to be with them, too ... */
const KEPT = 0.95;
/** ... before that is known well, less than this says enough; and more than this is worth it even where they leave a core idle. */
const KEPT_AT_ONCE = 0.7;
const GAINED = 1.1;
/** More than so many times as much is no gain: what came without rests was nearly nothing, as a VM may arrange that wants them. */
const TOO_GOOD = 4;
const AVERAGED = 1 / 4;
/** Times that RESTS are weighed before it is known, the first not counted, as all has to find its pace; and after which sleeps are weighed anew. */
const PROBATION = 5;
const TERM = 64;
/** So many rests have to bring something: less often, notifications wake us as seldom. */
const FRUITFUL = 0.75;
/** Turns in a row that found something: there is no pause to rest in. */
const BUSY = 64;
/** SLEEPS are weighed so many times more before rests are tried again each time that they did not pay, up to LONGEST times. */
const MORE = 4;
const LONGEST = 32;
/** A load is another one when its datagrams are so many times larger or smaller on average, or it brings so many times more or fewer bytes. */
const OTHER = 2;
/** Milliseconds that are never divided by less. */
const LEAST_SPAN = 0.001;
/** Nothing is counted further, so that it stays a small integer for V8. */
const MOST = 0x3fffffff;

/** Cells, see `Turn.time`: since when it is counted; bytes per millisecond without rests and with them; bytes per datagram without. */
const BEGAN = 0;
const WITHOUT = 1;
const WITH = 2;
const SIZE = 3;
const CELLS = 4;

export class Moderation {
  /** Rests, rather than asking for notifications. */
  resting = false;
  /** Sleeps or rests, datagrams found and bytes delivered since it was weighed. */
  private count = 0;
  private found = 0;
  private bytes = 0;
  /** Turns that found something since the last rest, and rests behind which one did. */
  private turns = 0;
  private fruitful = 0;
  /** Times that RESTS were weighed since rests began. */
  private weighed = 0;
  /** Times that SLEEPS were weighed since rests ended, and have to be before rests are tried again. */
  private waited = 0;
  private caution = 1;
  private readonly cells: Float64Array;
  private readonly time: Float64Array;

  /** `time`: now, in milliseconds. */
  constructor(time: Float64Array) {
    this.time = time;
    this.cells = new Float64Array(CELLS);
    this.begin();
  }

  /** A turn found so many datagrams and delivered so many bytes. */
  worked(found: number, bytes: number): void {
    this.found = Math.min(this.found + found, MOST);
    this.bytes = Math.min(this.bytes + bytes, MOST);
    if (!this.resting) return;
    if (this.turns++ === 0) this.fruitful++;
    if (this.turns > BUSY) this.end();
  }

  /** While resting, nothing is left to do: whether to rest once more. `crowded`: others use all cores. */
  rests(crowded: boolean): boolean {
    if (!crowded && this.weighed >= PROBATION && !this.gains()) this.end();
    else if (++this.count > RESTS) this.weighRests();
    this.turns = 0;
    return this.resting;
  }

  /** Called before each sleep that a notification may end. `pays`: looking for the next datagram still pays, which is better than a rest. */
  fellAsleep(pays: boolean, crowded: boolean): void {
    // Looking is tried now and then where it does not pay: this must not begin anew each time.
    if (!pays && ++this.count >= SLEEPS) this.weighSleeps(crowded);
  }

  private weighSleeps(crowded: boolean): void {
    const { cells } = this;
    const elapsed = this.elapsed();
    const rate = this.found / elapsed;
    const often = this.count > SLEEPS_PER_MS * elapsed && rate > LEAST_PER_MS && rate < MOST_PER_MS;
    if (crowded && often) {
      const flow = this.bytes / elapsed;
      const size = this.bytes / this.found;
      if (differs(flow, cells[WITHOUT]) || differs(size, cells[SIZE])) this.caution = 1;
      cells[WITHOUT] = flow;
      cells[SIZE] = size;
      if (++this.waited >= this.caution) {
        this.resting = true;
        this.weighed = 0;
        this.waited = 0;
      }
    }
    this.begin();
  }

  private weighRests(): void {
    const { cells } = this;
    const elapsed = this.elapsed();
    const flow = this.bytes / elapsed;
    const before = cells[WITH];
    if (++this.weighed <= 2) cells[WITH] = flow;
    else cells[WITH] += AVERAGED * (flow - before);
    const known = this.weighed >= PROBATION;
    const useless = this.found > MOST_PER_MS * elapsed || this.fruitful < FRUITFUL * RESTS;
    const asked = useless || this.weighed > 1;
    const less = asked && cells[WITH] < (known ? KEPT : KEPT_AT_ONCE) * cells[WITHOUT];
    const other = this.weighed > 2 && differs(flow, before);
    if (less) this.caution = Math.min(MORE * this.caution, LONGEST);
    else if (known || other) this.caution = 1;
    if (less || other || useless || this.weighed === TERM) this.end();
    else this.begin();
  }

  /** Much more is delivered with rests than without. */
  private gains(): boolean {
    const gain = this.cells[WITH] / this.cells[WITHOUT];
    return gain > GAINED && gain < TOO_GOOD;
  }

  private elapsed(): number {
    return Math.max(this.time[0] - this.cells[BEGAN], LEAST_SPAN);
  }

  private end(): void {
    this.resting = false;
    this.turns = 0;
    this.begin();
  }

  /** Counts anew. */
  private begin(): void {
    this.cells[BEGAN] = this.time[0];
    this.found = 0;
    this.bytes = 0;
    this.fruitful = 0;
    this.count = 0;
  }
}

/** One is OTHER times the other, or more. */
function differs(a: number, b: number): boolean {
  return a > OTHER * b || a * OTHER < b;
}
