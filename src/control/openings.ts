/**
 * Requests that wait for an adapter to be opened: bounded in number and time, one reply to each, and one only for what a
 * guest sent several times.
 */
import type { RequestId } from './request.ts';

/** Within which an opening is answered, in milliseconds. */
const OPEN_DEADLINE = 5000;
/** Requests that wait for one adapter. */
const MAX_WAITING = 16;

/** Where a request came from and its reply goes to: address (its key) and UDP port. */
export interface ControlPeer {
  key: number;
  udpPort: number;
}

/** To whom a reply goes. */
export interface Asker {
  vm: number;
  peer: ControlPeer;
  id: RequestId;
}

interface Waiting extends Asker {
  deadline: number;
}

export class Openings {
  /** In order of their deadlines. */
  private waiting: Waiting[] = [];

  /** How many wait. */
  get count(): number {
    return this.waiting.length;
  }

  /** Has the asker wait; false when too many do. One that waits already goes on waiting. */
  add(asker: Asker, now: number): boolean {
    const { vm, peer, id } = asker;
    const same = this.waiting.some(
      (other) =>
        other.vm === vm &&
        other.id === id &&
        other.peer.key === peer.key &&
        other.peer.udpPort === peer.udpPort,
    );
    if (same) return true;
    if (this.waiting.length >= MAX_WAITING) return false;
    this.waiting.push({ ...asker, deadline: now + OPEN_DEADLINE });
    return true;
  }

  /** Takes everybody out. */
  take(): Asker[] {
    const all = this.waiting;
    this.waiting = [];
    return all;
  }

  /** Takes out who has waited long enough. */
  takeOverdue(now: number): Asker[] {
    let overdue = 0;
    while (overdue < this.waiting.length && this.waiting[overdue].deadline <= now) overdue++;
    return this.waiting.splice(0, overdue);
  }

  /** When the first deadline is. */
  next(): number {
    return this.waiting.length > 0 ? this.waiting[0].deadline : Number.POSITIVE_INFINITY;
  }
}
