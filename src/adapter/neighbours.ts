/**
 * Resolution of LAN neighbours: from the next hop's address to the MAC address in a datagram's copy, or a place to wait.
 *
 * A neighbour is asked for three times, a second apart; what waited is then dropped (neighbourUnresolved) and the address not asked
 * for during three seconds. An answer is believed for 30 to 60 s (RFC 4861 §6.3.2's base reachable time, with its spread), and a
 * neighbour in use is asked again before it is forgotten. `resolve` allocates nothing when it hits.
 */
import { HELD } from '../routing/verdict.ts';
import { type BaseStorage, HEADER_BYTES } from '../storage/base-storage.ts';
import { SharedRoom } from '../storage/shared-room.ts';
import { BROADCAST_KEY, isMulticast, keyOf } from '../wire/ipv4-address.ts';
import { macText, putGroup } from '../wire/mac.ts';
import type { AdapterContext, Milliseconds } from './context.ts';
import {
  FAILED,
  FREE,
  INCOMPLETE,
  NEIGHBOURS,
  NeighbourTable,
  REACHABLE,
  REFRESHING,
} from './neighbour-table.ts';
import { UNRESOLVED, WaitingRoom } from './waiting-room.ts';

const TRIES = 3;
const RETRY: Milliseconds = 1000;
const NEGATIVE: Milliseconds = 3000;
const REACHABLE_MIN: Milliseconds = 30_000;
const REACHABLE_SPREAD: Milliseconds = 30_000;
/**
 * Unanswered addresses that one port may have us ask for, and all together: the other half is for neighbours that exist. Some more may be
 * asked for by ports that have fewer than are still free: those that scan keep nobody else from asking.
 */
const UNANSWERED_A_PORT = 256;
const UNANSWERED = NEIGHBOURS / 2;
const UNANSWERED_WITH_FEW = UNANSWERED + UNANSWERED / 8;

/** Sends an ARP request for `key`: to everybody, or to the MAC at `macs[at]` only. */
export type Ask = (key: number, macs: Uint8Array | null, at: number) => void;

export class Neighbours {
  readonly waiting: WaitingRoom;
  private readonly table: NeighbourTable;
  private readonly macBytes: Uint8Array;
  private readonly storage: BaseStorage;
  private readonly context: AdapterContext;
  private readonly ask: Ask;
  private readonly own: Uint16Array;
  private readonly subnetBroadcast: number;
  /** The next hop's address, 0: none. All depends on it, so no limit keeps us from asking for it. */
  private readonly gateway: number;
  /** Entries INCOMPLETE or FAILED, by the port that asked. */
  private readonly unanswered: SharedRoom;
  private sweepAt: Milliseconds = Number.POSITIVE_INFINITY;

  /** `own` is the adapter's MAC as three halves; kept, and changed in place by the adapter. */
  constructor(
    context: AdapterContext,
    own: Uint16Array,
    subnetBroadcast: number,
    ask: Ask,
    table = new NeighbourTable(),
  ) {
    this.context = context;
    this.storage = context.storage;
    this.own = own;
    this.subnetBroadcast = subnetBroadcast;
    this.gateway = context.plan.nextHop === null ? 0 : keyOf(context.plan.nextHop);
    this.ask = ask;
    this.table = table;
    this.macBytes = new Uint8Array(table.macs.buffer);
    this.waiting = new WaitingRoom(context.counters, context.senders);
    this.unanswered = new SharedRoom(UNANSWERED_WITH_FEW, UNANSWERED, context.senders);
  }

  /** Neighbours whose MAC is known. */
  get known(): number {
    let known = 0;
    for (const state of this.table.states) if (state >= REACHABLE) known++;
    return known;
  }

  /**
   * Writes source and destination MAC into the frame of `slot`, which goes to `nextHop` on the LAN. 0 when done, HELD when the
   * datagram was copied and waits, or the drop cell. A port from which a datagram is held has it in `waiting`.
   */
  resolve(slot: number, nextHop: number): number {
    const table = this.table;
    const entry = table.find(nextHop);
    if (entry >= 0 && table.states[entry] >= REACHABLE) {
      table.used[entry] = 1;
      const { halves } = this.storage;
      const half = this.storage.at[slot] >> 1;
      const mac = entry * 3;
      halves[half] = table.macs[mac];
      halves[half + 1] = table.macs[mac + 1];
      halves[half + 2] = table.macs[mac + 2];
      this.writeSource(half);
      return 0;
    }
    if (isMulticast(nextHop) || nextHop === BROADCAST_KEY || nextHop === this.subnetBroadcast) {
      return this.group(slot, nextHop);
    }
    return this.hold(slot, nextHop, entry);
  }

  /** True while an address counts as one that nobody has: it was asked for in vain. */
  failed(key: number): boolean {
    const entry = this.table.find(key);
    return entry >= 0 && this.table.states[entry] === FAILED;
  }

  /**
   * A neighbour said that `key` is at the MAC `bytes[at..]`. Believed only when that neighbour is in the table; true then.
   */
  learn(key: number, bytes: Uint8Array, at: number, now: Milliseconds): boolean {
    const table = this.table;
    const entry = table.find(key);
    if (entry < 0) return false;
    if (!table.usable(entry)) this.answered(entry);
    this.macBytes.set(bytes.subarray(at, at + 6), entry * 6);
    table.become(entry, REACHABLE);
    table.used[entry] = 0;
    this.until(entry, now + REACHABLE_MIN + Math.random() * REACHABLE_SPREAD);
    this.releaseWaiting(entry);
    return true;
  }

  /** Known neighbours: address key and MAC as text. */
  *entries(): IterableIterator<[key: number, mac: string]> {
    for (let entry = 0; entry < NEIGHBOURS; entry++) {
      if (this.table.states[entry] >= REACHABLE) {
        yield [this.table.keys[entry], macText(this.macBytes, entry * 6)];
      }
    }
  }

  /** Takes up a neighbour known before a restart: believed for now, and asked at once. */
  recall(key: number, mac: Uint8Array, now: Milliseconds): void {
    const table = this.table;
    if (table.find(key) >= 0 || table.size === NEIGHBOURS) return;
    const entry = table.insert(key);
    this.macBytes.set(mac, entry * 6);
    table.become(entry, REFRESHING);
    table.used[entry] = 0;
    table.tries[entry] = 0;
    this.until(entry, now);
  }

  /** Does what is due; when it wants to be called again. */
  tick(now: Milliseconds): Milliseconds {
    if (now < this.sweepAt) return this.sweepAt;
    this.sweepAt = Number.POSITIVE_INFINITY;
    const table = this.table;
    for (let entry = 0; entry < NEIGHBOURS; entry++) {
      if (table.states[entry] === FREE) continue;
      if (table.deadlines[entry] <= now) this.due(entry, now);
      else this.sweepAt = Math.min(this.sweepAt, table.deadlines[entry]);
    }
    return this.sweepAt;
  }

  /** Forgets every neighbour; what waits is dropped for `cell`. */
  clear(cell: number): void {
    this.waiting.dropAll(cell);
    for (let entry = 0; entry < NEIGHBOURS; entry++) {
      if (this.table.states[entry] === FREE) continue;
      if (!this.table.usable(entry)) this.answered(entry);
      this.table.remove(entry);
    }
    this.sweepAt = Number.POSITIVE_INFINITY;
  }

  private group(slot: number, key: number): number {
    const half = this.storage.at[slot] >> 1;
    const { halves } = this.storage;
    putGroup(halves, half, key);
    this.writeSource(half);
    return 0;
  }

  /** Our own MAC, into the frame that begins at `halves[half]`. */
  private writeSource(half: number): void {
    const { halves } = this.storage;
    halves[half + 3] = this.own[0];
    halves[half + 4] = this.own[1];
    halves[half + 5] = this.own[2];
  }

  /** The neighbour is not known (or `entry` is not answered): the datagram waits. */
  private hold(slot: number, key: number, entry: number): number {
    const { table, storage } = this;
    const from = storage.from[slot];
    let place = entry;
    if (place < 0) {
      place = this.begin(key, from, this.context.time[0]);
      if (place < 0) return UNRESOLVED;
    } else if (table.states[place] === FAILED) {
      return UNRESOLVED;
    }
    const start = storage.at[slot] - HEADER_BYTES;
    const length = storage.length[slot] + HEADER_BYTES;
    if (!this.waiting.admits(place, from, length)) return UNRESOLVED;
    this.waiting.add(place, from, storage.bytes.slice(start, start + length));
    return HELD;
  }

  /** Starts to ask for an address; its entry, or -1 when there is no room. */
  private begin(key: number, from: number, now: Milliseconds): number {
    const { table, unanswered } = this;
    if (key !== this.gateway && unanswered.shareOf(from) >= UNANSWERED_A_PORT) return -1;
    const crowded = !unanswered.mayTake(from, 1);
    const full = table.size === NEIGHBOURS;
    if (crowded || full) {
      // For the next hop a neighbour that answered goes, too, where there is no other place.
      const victim = table.victim(crowded && !(full && key === this.gateway));
      if (victim >= 0) this.forget(victim);
      else if (key !== this.gateway || full) return -1;
    }
    const entry = table.insert(key);
    table.askers[entry] = from;
    unanswered.take(from, 1);
    table.tries[entry] = 1;
    this.until(entry, now + RETRY);
    this.ask(key, null, 0);
    return entry;
  }

  private due(entry: number, now: Milliseconds): void {
    const table = this.table;
    const key = table.keys[entry];
    switch (table.states[entry]) {
      case INCOMPLETE:
        if (table.tries[entry] < TRIES) {
          table.tries[entry]++;
          this.until(entry, now + RETRY);
          this.ask(key, null, 0);
        } else {
          table.become(entry, FAILED);
          this.until(entry, now + NEGATIVE);
          this.giveUp(entry);
        }
        break;
      case REACHABLE:
        if (table.used[entry] === 0) {
          this.forget(entry);
        } else {
          table.become(entry, REFRESHING);
          table.tries[entry] = 1;
          this.until(entry, now + RETRY);
          // First only the neighbour itself (RFC 1122 §2.3.2.1), then everybody.
          this.ask(key, this.macBytes, entry * 6);
        }
        break;
      case REFRESHING:
        if (table.tries[entry] < TRIES) {
          table.tries[entry]++;
          this.until(entry, now + RETRY);
          this.ask(key, null, 0);
        } else {
          this.forget(entry);
        }
        break;
      default: // FAILED: may be asked for again
        this.forget(entry);
    }
  }

  private until(entry: number, deadline: Milliseconds): void {
    this.table.deadlines[entry] = deadline;
    if (deadline >= this.sweepAt) return;
    this.sweepAt = deadline;
    this.context.due(deadline);
  }

  private forget(entry: number): void {
    if (!this.table.usable(entry)) this.answered(entry);
    this.waiting.drop(entry, UNRESOLVED);
    this.table.remove(entry);
  }

  /** What waited is dropped, and its senders told why, each as often as it may be. */
  private giveUp(entry: number): void {
    for (const { from, packet } of this.waiting.drop(entry, UNRESOLVED))
      if (from >= 0) this.context.unreached(from, packet);
  }

  /** The entry is no longer one of those its asker waits for. */
  private answered(entry: number): void {
    this.unanswered.give(this.table.askers[entry], 1);
  }

  /** What waited goes to the outbox, with its MAC addresses. */
  private releaseWaiting(entry: number): void {
    const mac = this.macBytes.subarray(entry * 6, entry * 6 + 6);
    const own = new Uint8Array(this.own.buffer, this.own.byteOffset, 6);
    for (const { from, packet } of this.waiting.take(entry)) {
      packet.set(mac, HEADER_BYTES);
      packet.set(own, HEADER_BYTES + 6);
      if (!this.context.outbox.add(from, this.context.port, packet)) {
        this.waiting.count(from, UNRESOLVED);
      }
    }
  }
}
