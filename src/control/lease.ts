/**
 * Who controls an adapter, and for how long: leases and the order of preference. Pure; time comes in from outside.
 *
 * - `open` takes the lease when nobody has it, and renews it for the holder; `renew` only renews it.
 * - While somebody holds it, another controller that asks is a *stand-by*: it hears `held`, and that it asked is remembered for
 *   one lease period, and for 2.5 s at least.
 * - When the lease has ended, whoever asks takes over, with one exception: during the grace after the end, a controller is put
 *   off when a more preferred stand-by is remembered, so that the most preferred of several that wait gets it. The grace is
 *   half a lease, at least 1.5 s and at most 5 s: each stand-by asks once in it, and datagrams flow meanwhile.
 * - Nobody is left when the lease has ended and no stand-by is remembered.
 */
export const NOBODY = -1;

/** Milliseconds, as all times here. */
const MAX_GRACE = 5000;
/** However short the lease is: a stand-by pauses a second between its questions, and waits for each answer. */
const LEAST_GRACE = 1500;
const LEAST_REMEMBERED = 2500;

export class Lease {
  /** VM index, or NOBODY. */
  holder = NOBODY;
  private readonly controllers: readonly number[];
  private readonly period: number;
  private readonly grace: number;
  /** How long it is known that a controller asked in vain. */
  private readonly remembered: number;
  private expires = 0;
  /** When the last lease ran out (it was not given back). */
  private ended = Number.NEGATIVE_INFINITY;
  /** When each controller last asked in vain; index as in `controllers`. */
  private readonly asked: number[];
  /** An end that `loss` has not reported yet. */
  private unreported = false;

  /** `controllers`: VM indices in order of preference. `period` in milliseconds. */
  constructor(controllers: readonly number[], period: number) {
    this.controllers = controllers;
    this.period = period;
    this.grace = Math.max(LEAST_GRACE, Math.min(period / 2, MAX_GRACE));
    this.remembered = Math.max(period, LEAST_REMEMBERED);
    this.asked = controllers.map(() => Number.NEGATIVE_INFINITY);
  }

  /** True when the VM may control the adapter at all. */
  lists(vm: number): boolean {
    return this.controllers.includes(vm);
  }

  /** Ends the lease when its time is over; returns who lost it, or NOBODY. */
  expire(now: number): number {
    if (this.holder === NOBODY || now < this.expires) return NOBODY;
    const loser = this.holder;
    this.holder = NOBODY;
    this.ended = this.expires;
    this.unreported = true;
    return loser;
  }

  /** Takes or renews the lease for a listed VM. False: it is held, or a more preferred stand-by goes first. */
  take(vm: number, now: number): boolean {
    this.expire(now);
    const place = this.controllers.indexOf(vm);
    if (this.holder !== vm && (this.holder !== NOBODY || this.isPutOff(place, now))) {
      this.asked[place] = now;
      return false;
    }
    this.holder = vm;
    this.expires = now + this.period;
    this.asked[place] = Number.NEGATIVE_INFINITY;
    this.unreported = false;
    return true;
  }

  /** Renews; false when the VM doesn't hold it. */
  renew(vm: number, now: number): boolean {
    this.expire(now);
    if (this.holder !== vm) return false;
    this.expires = now + this.period;
    return true;
  }

  /** Takes up a lease from before a restart, `left` milliseconds of it. */
  resume(vm: number, left: number, now: number): void {
    this.holder = vm;
    this.expires = now + Math.min(left, this.period);
  }

  /** Nobody was heard for so many milliseconds: a lease, the grace after one, and what others asked for last so much longer. */
  extend(milliseconds: number): void {
    if (this.holder !== NOBODY) this.expires += milliseconds;
    this.ended += milliseconds;
    for (const place of this.asked.keys()) this.asked[place] += milliseconds;
  }

  /** Gives it back: no grace, nothing was lost. */
  release(): void {
    this.holder = NOBODY;
    this.ended = Number.NEGATIVE_INFINITY;
    this.unreported = false;
  }

  /** Milliseconds left, 0 without a holder. */
  left(now: number): number {
    return this.holder === NOBODY ? 0 : Math.max(0, this.expires - now);
  }

  /** True once after a lease ended and no stand-by is remembered: no controller is left. */
  loss(now: number): boolean {
    if (!this.unreported || now < this.lossAt()) return false;
    this.unreported = false;
    return true;
  }

  /** When this lease wants to be looked at again. */
  next(): number {
    if (this.holder !== NOBODY) return this.expires;
    return this.unreported ? this.lossAt() : Number.POSITIVE_INFINITY;
  }

  private lossAt(): number {
    let at = this.ended;
    for (const asked of this.asked) at = Math.max(at, asked + this.remembered);
    return at;
  }

  private isPutOff(place: number, now: number): boolean {
    if (now >= this.ended + this.grace) return false;
    for (let better = 0; better < place; better++) {
      if (now - this.asked[better] <= this.remembered) return true;
    }
    return false;
  }
}
