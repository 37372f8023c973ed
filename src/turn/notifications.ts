/**
 * Notifies drivers and other workers: all that a turn has to tell in one native call.
 *
 * A call eventfd is its front-end's, who may watch it as often as it likes: with a million of epoll watches each signal takes us 0.1 s. When a call has taken
 * longer than signals do, the next ones go one by one, and whose takes so much of our processor's time has to pay for it.
 */
import type { Native } from '../native.ts';
import type { Ring } from '../port/ring.ts';

const MAX_SIGNALS = 1024;
/** Microseconds that one call for all may take before signals are made one by one: it may have lost its core meanwhile, or had many to wake. */
const LONG = 250;
/** Milliseconds of processor time of one signal from which on `costs` is told: to wake a thread takes microseconds. */
const NOTICED = 0.1;
/** How many sends are made one by one after a long call. While signals take long, each call for all is one, so that few of them are not looked at. */
const LOOKS = 16;

/** Signals one eventfd; milliseconds of a processor that this took our thread. */
export function signalAndMeasure(native: Native, fd: number): number {
  native.readWorked();
  const before = native.worked[0];
  native.signal(fd);
  native.readWorked();
  return native.worked[0] - before;
}

export class Notifications {
  private readonly native: Native;
  private readonly costs: (ring: Ring, milliseconds: number) => void;
  private readonly fds = new Int32Array(MAX_SIGNALS);
  /** Whose they are, virtqueues; null: another worker's. */
  private readonly rings: (Ring | null)[] = new Array(MAX_SIGNALS).fill(null);
  private count = 0;
  /** Sends that are still to be made one by one. */
  private looks = 0;

  /** `costs`: a ring's signal took so much of our processor's time. */
  constructor(native: Native, costs: (ring: Ring, milliseconds: number) => void) {
    this.native = native;
    this.costs = costs;
  }

  /** To be signalled with the next `send`, or before where that is too many. */
  add(fd: number, ring: Ring | null): void {
    if (this.count === MAX_SIGNALS) this.send();
    this.rings[this.count] = ring;
    this.fds[this.count++] = fd;
  }

  /** Signals all that was added: in one native call, or one by one while somebody's take long. */
  send(): void {
    if (this.count === 0) return;
    if (this.looks > 0) this.oneByOne();
    else if (this.native.signalAll(this.fds, this.count) > LONG) this.looks = LOOKS;
    this.count = 0;
  }

  private oneByOne(): void {
    const { native, fds, rings, count } = this;
    this.looks--;
    for (let index = 0; index < count; index++) {
      const milliseconds = signalAndMeasure(native, fds[index]);
      const ring = rings[index];
      if (milliseconds >= NOTICED && ring !== null) this.costs(ring, milliseconds);
    }
  }
}
