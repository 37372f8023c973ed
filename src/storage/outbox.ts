/**
 * Datagrams that don't come from a gather: control replies, ARP announcements, datagrams that waited for a neighbour.
 * The next turn takes them into base storage and delivers them like any other. Bounded in number and bytes; a full outbox refuses.
 *
 * What came from a port counts in its `waiting` while it is here: its books balance between turns, too.
 */
import type { Counters } from '../counters.ts';
import { HEADER_BYTES, type BaseStorage } from './base-storage.ts';

/** `from` of what the base says by itself: it is in nobody's books. */
export const BASE = -1;

const MAX_PACKETS = 2048;
const MAX_BYTES = 4 << 20;

interface Entry {
  from: number;
  to: number;
  packet: Uint8Array;
}

export class Outbox {
  private readonly counters: Counters;
  private entries: Entry[] = [];
  private bytes = 0;

  constructor(counters: Counters) {
    this.counters = counters;
  }

  /** How many wait. */
  get length(): number {
    return this.entries.length;
  }

  /**
   * Queues `packet`, a 12-byte virtio-net header and an Ethernet frame, complete with addresses, for port `to`. Keeps the
   * array: the caller must not write to it afterwards. False when the outbox is full; what the base says by itself is `missed` by its receiver then.
   */
  add(from: number, to: number, packet: Uint8Array): boolean {
    if (this.entries.length >= MAX_PACKETS || this.bytes + packet.length > MAX_BYTES) {
      if (from === BASE) this.counters.add(to, 'missed');
      return false;
    }
    this.entries.push({ from, to, packet });
    this.bytes += packet.length;
    if (from >= 0) this.counters.add(from, 'waiting');
    return true;
  }

  /** Moves what fits into base storage, `to` already decided; the rest stays for the next turn. */
  moveTo(storage: BaseStorage): void {
    let taken = 0;
    for (const { from, to, packet } of this.entries) {
      const slot = storage.take(from, packet.length - HEADER_BYTES);
      if (slot < 0) break;
      storage.bytes.set(packet, storage.at[slot] - HEADER_BYTES);
      storage.to[slot] = to;
      this.bytes -= packet.length;
      if (from >= 0) this.counters.add(from, 'waiting', -1);
      taken++;
    }
    this.entries.splice(0, taken);
  }
}
