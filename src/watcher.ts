/**
 * Who is told when a descriptor is ready: the turn worker's one wait over kicks, sockets and adapters.
 */
import type { Native, Waiter } from './native.ts';
import { BEAT } from './beat.ts';

export const EPOLLIN = 1;
export const EPOLLOUT = 4;

/** Called between turns, never inside one. */
export type Ready = (events: number) => void;

const MAX_EVENTS = 256;

export class Watcher {
  private readonly waiter: Waiter;
  private readonly handlers: (Ready | null)[] = [];
  private readonly free: number[] = [];
  /** Times that it has looked so far. */
  looks = 0;
  /** Token of each watched descriptor. */
  private readonly tokens = new Map<number, number>();

  constructor(native: Native) {
    this.waiter = native.createWaiter(MAX_EVENTS);
  }

  /** Watches `fd`; `edge`: each new event once, without reading (kicks). */
  watch(fd: number, events: number, edge: boolean, ready: Ready): void {
    const token = this.free.pop() ?? this.handlers.push(null) - 1;
    try {
      this.waiter.add(fd, token, events, edge);
    } catch (error) {
      this.free.push(token);
      throw error;
    }
    this.handlers[token] = ready;
    this.tokens.set(fd, token);
  }

  /** Other events for a descriptor that is watched. */
  change(fd: number, events: number): void {
    const token = this.tokens.get(fd);
    if (token !== undefined) this.waiter.modify(fd, token, events, false);
  }

  /** Looks away from a descriptor until `resume`: while it is watched, each of its events costs whoever causes it a wake-up. */
  pause(fd: number): void {
    if (this.tokens.has(fd)) this.waiter.remove(fd);
  }

  /** Watches it again; tells at once what is ready then. */
  resume(fd: number, events: number): void {
    const token = this.tokens.get(fd);
    if (token !== undefined) this.waiter.add(fd, token, events, false);
  }

  /** Stops watching; call before closing the descriptor. */
  unwatch(fd: number): void {
    const token = this.tokens.get(fd);
    if (token === undefined) return;
    this.tokens.delete(fd);
    this.waiter.remove(fd);
    this.handlers[token] = null;
    this.released.push(token);
  }

  /** Tokens given up while events are being served: free only afterwards, lest a stale event reach a new handler. */
  private readonly released: number[] = [];

  /**
   * Waits up to `microseconds` (0: only looks) and calls the handlers of what is ready. Returns how many were. `beat`: says
   * while it sleeps that it does, and no longer: a handler that hangs must not look like sleep to the watchdog.
   */
  wait(microseconds: number, beat: Int32Array | null = null): number {
    // Plain stores: who reads them looks once a second, and Atomics are calls.
    if (beat !== null) beat[BEAT.waiting] = 1;
    const count = this.waiter.wait(microseconds);
    if (beat !== null) beat[BEAT.waiting] = 0;
    // Never so large that V8 would go on with fractions.
    this.looks = (this.looks + 1) & 0x3fffffff;
    const { events } = this.waiter;
    // Who comes first changes: the kernel has always the same order, and time for requests may end before all are served.
    let index = count > 1 ? this.looks % count : 0;
    for (let left = count; left > 0; left--) {
      const ready = this.handlers[events[index * 2]];
      if (ready) ready(events[index * 2 + 1]);
      if (++index === count) index = 0;
    }
    while (this.released.length > 0) this.free.push(this.released.pop()!);
    return count;
  }

  /** Ends the wait; the descriptors that were watched stay their owners'. */
  close(): void {
    this.waiter.close();
  }
}
