/**
 * Which MAC address a LAN neighbour has: entries in typed arrays, found through an open-addressed index with a seeded hash.
 *
 * Bounded; a full table evicts what was not used lately. Those that may be evicted stand in lists, so that finding one costs a few steps
 * however many there are: guests can make us look with every datagram. Who may put something in, and for how long, is the resolver's
 * matter (`neighbours.ts`). Looking up allocates nothing.
 */
import { hashOf } from '../wire/ipv4-address.ts';

export const NEIGHBOURS = 1024;

/** An entry's state; above USABLE its MAC may be used. */
export const FREE = 0;
/** Asked for, not answered yet. */
export const INCOMPLETE = 1;
/** Did not answer: not asked for again until `deadline`. */
export const FAILED = 2;
const USABLE = 3;
/** Answered; believed until `deadline`. */
export const REACHABLE = 3;
/** Still believed, being asked again. */
export const REFRESHING = 4;

const INDEX_SLOTS = NEIGHBOURS * 4;

/** Ends of the two lists, in the arrays behind the entries: those that failed, and those that answered; the oldest first. */
const FAILED_LIST = NEIGHBOURS;
const ANSWERED_LIST = NEIGHBOURS + 1;
/** Entries that are looked at for a victim, at most. */
const CHANCES = 16;

export class NeighbourTable {
  /** Address keys by entry. */
  readonly keys = new Int32Array(NEIGHBOURS);
  /** Changed by `become` only. */
  readonly states = new Uint8Array(NEIGHBOURS);
  /** Three little-endian halves per entry, as they lie on the wire. */
  readonly macs = new Uint16Array(NEIGHBOURS * 3);
  /** When the state ends. */
  readonly deadlines = new Float64Array(NEIGHBOURS);
  /** Requests sent in this state. */
  readonly tries = new Uint8Array(NEIGHBOURS);
  /** 1 when looked up since the deadline was set. */
  readonly used = new Uint8Array(NEIGHBOURS);
  /** Port whose datagram asked for it first, while INCOMPLETE or FAILED. */
  readonly askers = new Int32Array(NEIGHBOURS);
  /** Entries in use. */
  size = 0;

  /** entry + 1, or 0. */
  private readonly index = new Uint16Array(INDEX_SLOTS);
  private readonly free = new Uint16Array(NEIGHBOURS);
  private readonly seed: number;
  /** Neighbours in the entry's list; itself where it is in none. */
  private readonly next = new Uint16Array(NEIGHBOURS + 2);
  private readonly previous = new Uint16Array(NEIGHBOURS + 2);

  constructor(seed = (Math.random() * 0xffffffff) | 0) {
    this.seed = seed;
    for (let i = 0; i < NEIGHBOURS; i++) this.free[i] = i;
    for (let i = 0; i < NEIGHBOURS + 2; i++) this.next[i] = this.previous[i] = i;
  }

  /** The entry of an address, or -1. */
  find(key: number): number {
    const { index, keys } = this;
    for (let slot = this.home(key); ; slot = (slot + 1) & (INDEX_SLOTS - 1)) {
      const entry = index[slot] - 1;
      if (entry < 0 || keys[entry] === key) return entry;
    }
  }

  /** True when the entry's MAC may be used. */
  usable(entry: number): boolean {
    return this.states[entry] >= USABLE;
  }

  /** A new INCOMPLETE entry for an address that has none; -1 when the table is full. */
  insert(key: number): number {
    if (this.size === NEIGHBOURS) return -1;
    const entry = this.free[this.size++];
    let slot = this.home(key);
    while (this.index[slot] !== 0) slot = (slot + 1) & (INDEX_SLOTS - 1);
    this.index[slot] = entry + 1;
    this.keys[entry] = key;
    this.become(entry, INCOMPLETE);
    this.tries[entry] = 0;
    this.used[entry] = 1;
    this.askers[entry] = -1;
    this.deadlines[entry] = 0;
    return entry;
  }

  /** Takes an entry out; its number may be given to another address at once. */
  remove(entry: number): void {
    const { index, keys } = this;
    let hole = this.home(keys[entry]);
    while (index[hole] !== entry + 1) hole = (hole + 1) & (INDEX_SLOTS - 1);
    // Close the gap: what lies behind moves up unless it would come in front of its own home.
    for (let slot = hole; ; ) {
      slot = (slot + 1) & (INDEX_SLOTS - 1);
      const other = index[slot];
      if (other === 0) break;
      const distance = (slot - this.home(keys[other - 1])) & (INDEX_SLOTS - 1);
      if (distance >= ((slot - hole) & (INDEX_SLOTS - 1))) {
        index[hole] = other;
        hole = slot;
      }
    }
    index[hole] = 0;
    this.become(entry, FREE);
    this.free[--this.size] = entry;
  }

  /** Gives an entry another state. */
  become(entry: number, state: number): void {
    this.states[entry] = state;
    this.unlink(entry);
    if (state === FAILED) this.append(FAILED_LIST, entry);
    else if (state >= USABLE) this.append(ANSWERED_LIST, entry);
  }

  /**
   * An entry that may be given up for another: the one that failed first, or (unless `failed` only is wanted) one of the oldest that
   * answered, rather one that was not used since its deadline was set. -1 when there is none: INCOMPLETE entries have datagrams waiting
   * and stay.
   */
  victim(failed: boolean): number {
    const first = this.next[FAILED_LIST];
    if (first !== FAILED_LIST) return first;
    let entry = this.next[ANSWERED_LIST];
    if (failed || entry === ANSWERED_LIST) return -1;
    for (let chance = 1; chance < CHANCES && this.used[entry] !== 0; chance++) {
      this.used[entry] = 0;
      this.unlink(entry);
      this.append(ANSWERED_LIST, entry);
      entry = this.next[ANSWERED_LIST];
    }
    return entry;
  }

  private append(list: number, entry: number): void {
    const last = this.previous[list];
    this.next[last] = entry;
    this.previous[entry] = last;
    this.next[entry] = list;
    this.previous[list] = entry;
  }

  private unlink(entry: number): void {
    this.next[this.previous[entry]] = this.next[entry];
    this.previous[this.next[entry]] = this.previous[entry];
    this.next[entry] = this.previous[entry] = entry;
  }

  /** Where the search for a key begins. */
  private home(key: number): number {
    return hashOf(key, this.seed) & (INDEX_SLOTS - 1);
  }
}
