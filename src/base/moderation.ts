/**
 * Whether to wait out notifications together. Where datagrams come often, but too far apart to look for the next one, each of them costs a
 * notification, a wake-up and the guest whose core we take for it. As long as others use all cores, the base rests instead: it looks again
 * after a while, and nobody notifies it meanwhile. It goes on with that as long as no less is carried than without; both are tried by turns.
 * See docs/decisions/0028-rests-where-no-core-is-idle.md.
 */

/** Sleeps, and rests, after which it is weighed again: some milliseconds, as bursts may come that say little. */
const SLEEPS = 32;
const RESTS = 64;
/** Sleeps per millisecond from which a rest may pay, and datagrams: above the most, a VM's ring of 256 may be full before we look. */
const SLEEPS_PER_MS = 2;
const LEAST_PER_MS = 6;
const MOST_PER_MS = 256;
/** So much of the bytes that were carried per millisecond without rests have to be carried with them, too ... */
const KEPT = 0.95;
/** ... before that is known well, less than this says enough; and more than this is worth it even where they leave a core idle. */
const KEPT_AT_ONCE = 0.7;
const GAINED = 1.1;
const AVERAGED = 1 / 4;
/** Times that RESTS are weighed before it is known, the first not counted, as all has to find its pace; and after which sleeps are weighed anew. */
const PROBATION = 5;
const TERM = 64;
/** So many rests have to bring something: less often, notifications wake us as seldom. */
const FRUITFUL = 0.75;
/** Turns in a row that found something: there is no pause to rest in. */
const BUSY = 64;
/** Sleeps are weighed so many times before rests are tried, or looked at anew; four times as often each time they did not pay, up to LONGEST. */
const FIRST = 8;
const MORE = 4;
const LONGEST = 256;
/** Of a load whose datagrams are so many times larger or smaller, on average, nothing is known, nor of one that carries so many times more or less. */
const OTHER = 2;
/** SLEEPS that take longer than so many milliseconds had a pause among them, behind which nothing is known either. */
const PAUSE = 50;
/** Milliseconds that are never divided by less. */
const LEAST_SPAN = 0.001;
/** Nothing is counted further, so that it stays a small integer for V8. */
const MOST = 0x3fffffff;

/** Cells, see `Turn.time`: since when it is counted; bytes per millisecond without rests and with them; bytes per datagram without. */
const BEGAN = 0;
const WITHOUT = 1;
const WITH = 2;
const SIZE = 3;
/** Of the sleeps since rests ended, or since the last pause: milliseconds and bytes. */
const SPAN = 4;
const SPAN_BYTES = 5;
const CELLS = 6;

export class Moderation {
  /** Rests, rather than asking for notifications. */
  resting = false;
  /** Sleeps or rests, datagrams found and bytes carried since it was weighed. */
  private count = 0;
  private found = 0;
  private carried = 0;
  /** Turns that found something since the last rest, and rests behind which one did. */
  private turns = 0;
  private fruitful = 0;
  /** Times that RESTS were weighed since rests began, or SLEEPS in this span. */
  private weighed = 0;
  /** How many times SLEEPS are weighed before rests are tried. */
  private caution = FIRST;
  private readonly cells: Float64Array;
  private readonly time: Float64Array;

  /** `time`: now, in milliseconds. */
  constructor(time: Float64Array) {
    this.time = time;
    this.cells = new Float64Array(CELLS);
    this.begin();
  }

  /** A turn found so many datagrams and delivered so many bytes. */
  worked(found: number, carried: number): void {
    this.found = Math.min(this.found + found, MOST);
    this.carried = Math.min(this.carried + carried, MOST);
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
    const often = this.count > SLEEPS_PER_MS * elapsed;
    const size = this.carried / Math.max(this.found, 1);
    if (elapsed > PAUSE || (often && differs(size, cells[SIZE]))) {
      cells[SIZE] = size;
      this.startAnew();
    }
    if (!crowded) this.startSpan();
    else if (often) {
      cells[SPAN] += elapsed;
      cells[SPAN_BYTES] += this.carried;
      const rate = this.found / elapsed;
      if (++this.weighed >= this.caution && rate > LEAST_PER_MS && rate < MOST_PER_MS) {
        const flow = cells[SPAN_BYTES] / cells[SPAN];
        cells[WITHOUT] = cells[WITHOUT] === 0 ? flow : (cells[WITHOUT] + flow) / 2;
        this.startSpan();
        this.resting = true;
      }
    }
    this.begin();
  }

  private weighRests(): void {
    const { cells } = this;
    const elapsed = this.elapsed();
    const flow = this.carried / elapsed;
    const before = cells[WITH];
    if (++this.weighed <= 2) cells[WITH] = flow;
    else cells[WITH] += AVERAGED * (flow - before);
    const known = this.weighed >= PROBATION;
    const less = this.weighed > 1 && cells[WITH] < (known ? KEPT : KEPT_AT_ONCE) * cells[WITHOUT];
    const other = this.weighed > 2 && differs(flow, before);
    if (less) this.caution = Math.min(MORE * this.caution, LONGEST);
    else if (known) this.caution = FIRST;
    if (other) this.startAnew();
    const useless = this.found > MOST_PER_MS * elapsed || this.fruitful < FRUITFUL * RESTS;
    if (less || other || useless || this.weighed === TERM) this.end();
    else this.begin();
  }

  /** Much more is carried with rests than without. */
  private gains(): boolean {
    return this.cells[WITH] > GAINED * this.cells[WITHOUT];
  }

  /** Nothing is known any more. */
  private startAnew(): void {
    this.cells[WITHOUT] = 0;
    this.caution = FIRST;
    this.startSpan();
  }

  private startSpan(): void {
    this.cells[SPAN] = 0;
    this.cells[SPAN_BYTES] = 0;
    this.weighed = 0;
  }

  private elapsed(): number {
    return Math.max(this.time[0] - this.cells[BEGAN], LEAST_SPAN);
  }

  private end(): void {
    this.resting = false;
    this.turns = 0;
    this.startSpan();
    this.begin();
  }

  /** Counts anew. */
  private begin(): void {
    this.cells[BEGAN] = this.time[0];
    this.found = 0;
    this.carried = 0;
    this.fruitful = 0;
    this.count = 0;
  }
}

/** One is OTHER times the other, or more. */
function differs(a: number, b: number): boolean {
  return a > OTHER * b || a * OTHER < b;
}
