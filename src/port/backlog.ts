/**
 * What could not be delivered just now and may wait: the receiver's ring was full for a moment. Bounded in
 * datagrams and bytes, in a part of the arena of its own, so that a waiting datagram is delivered by the same rows as
 * any other. A ring of bytes; a datagram lies contiguous, so one that doesn't fit before the end starts again at the front.
 *
 * A VM has one for all its queue pairs, and each datagram in it waits for one of them. What goes leaves a gap where what came before it, for
 * another pair, waits on: gaps are closed once they are more than what waits, or stand in the way and are worth the copy.
 *
 * Whoever floods a receiver fills its backlog up to FOR_ALL only; what is behind that is shared out (`storage/shared-room.ts`).
 */
import {
  FRAME_OFFSET,
  HEADER_BYTES,
  slotBytes,
  type BaseStorage,
} from '../storage/base-storage.ts';
import { MAX_PAIRS } from '../plan.ts';
import { SharedRoom } from '../storage/shared-room.ts';
import type { Ring } from './ring.ts';

export const BACKLOG_BYTES = 640 * 1024;
export const BACKLOG_DATAGRAMS = 640;
/** What anyone may fill, one sender alone, too. */
export const FOR_ALL = { bytes: 512 * 1024, datagrams: 512 } as const;
/** Gaps of so much are worth closing: whoever makes them must not have everything moved for each of its datagrams. */
const WORTH_CLOSING = { bytes: BACKLOG_BYTES / 16, datagrams: BACKLOG_DATAGRAMS / 64 } as const;
/** For no pair: what went before those that came earlier. */
const GAP = -1;

export class Backlog {
  private readonly storage: BaseStorage;
  private readonly start: number;
  // Of each entry; the oldest stands at `first`.
  private readonly ats = new Int32Array(BACKLOG_DATAGRAMS);
  private readonly lengths = new Int32Array(BACKLOG_DATAGRAMS);
  private readonly froms = new Int32Array(BACKLOG_DATAGRAMS);
  /** Queue pair, or GAP. */
  private readonly pairs = new Int8Array(BACKLOG_DATAGRAMS);
  private first = 0;
  /** Entries, gaps included; and the bytes of these. */
  private span = 0;
  private gapBytes = 0;
  /** The input rings among which their pairs were chosen. */
  inputs: readonly Ring[] = [];
  /** How many wait for each pair. */
  private readonly counts = new Int32Array(MAX_PAIRS);
  /** Next free byte, relative to the start. */
  private fill = 0;
  /** What waits, in datagrams and in bytes of their slots. */
  private readonly datagrams: SharedRoom;
  private readonly bytes: SharedRoom;

  /** Uses BACKLOG_BYTES of the arena from `start` (a multiple of 64). Senders are -1 (the base) to `senders` - 1. */
  constructor(storage: BaseStorage, start: number, senders: number) {
    this.storage = storage;
    this.start = start;
    this.datagrams = new SharedRoom(BACKLOG_DATAGRAMS, FOR_ALL.datagrams, senders);
    this.bytes = new SharedRoom(BACKLOG_BYTES, FOR_ALL.bytes, senders);
  }

  /**
   * Copies the frame at `at`, with its virtio-net header, behind the others, to wait for `pair`; false when it is full, or what is left is
   * not for this sender. Not between `remove` and the native call that carries out the rows of what was removed.
   */
  add(at: number, length: number, from: number, pair: number): boolean {
    const needed = slotBytes(length);
    if (!this.datagrams.mayTake(from, 1) || !this.bytes.mayTake(from, needed)) return false;
    if (this.span > 2 * this.count || this.gapBytes > this.bytes.used) this.closeGaps();
    let place = this.placeFor(needed);
    if (place < 0 && this.gapsAreWorthClosing) {
      this.closeGaps();
      place = this.placeFor(needed);
    }
    if (place < 0) return false;
    const entry = this.entryAt(this.span++);
    const to = this.start + place + FRAME_OFFSET;
    this.storage.bytes.copyWithin(to - HEADER_BYTES, at - HEADER_BYTES, at + length);
    this.ats[entry] = to;
    this.lengths[entry] = length;
    this.froms[entry] = from;
    this.pairs[entry] = pair;
    this.counts[pair]++;
    this.fill = place + needed;
    this.datagrams.take(from, 1);
    this.bytes.take(from, needed);
    return true;
  }

  /** How many wait, for all pairs. */
  get count(): number {
    return this.datagrams.used;
  }

  /** How many wait for this pair. */
  waitingFor(pair: number): number {
    return this.counts[pair];
  }

  /**
   * The oldest entry, not before `entry`, that waits for none of the pairs whose bits are set in `full`; -1: there is none. Begin with -1, and go
   * on with what it returned, which may have been removed.
   */
  next(entry: number, full: number): number {
    const { first, pairs, span } = this;
    let index = (entry - first + BACKLOG_DATAGRAMS) % BACKLOG_DATAGRAMS;
    if (entry < 0 || index >= span) index = 0; // it was the oldest, and went
    for (; index < span; index++) {
      const found = this.entryAt(index);
      const pair = pairs[found];
      if (pair !== GAP && ((full >>> pair) & 1) === 0) return found;
    }
    return -1;
  }

  /** Of an entry: where its frame is, its length, the port it came from, the pair it waits for. */
  at(entry: number): number {
    return this.ats[entry];
  }

  length(entry: number): number {
    return this.lengths[entry];
  }

  from(entry: number): number {
    return this.froms[entry];
  }

  pair(entry: number): number {
    return this.pairs[entry];
  }

  /** Lets each datagram wait for the pair that `pairOf` says, by where its frame is. */
  assign(pairOf: (at: number) => number): void {
    const { ats, counts, pairs } = this;
    counts.fill(0);
    for (let index = 0; index < this.span; index++) {
      const entry = this.entryAt(index);
      if (pairs[entry] === GAP) continue;
      pairs[entry] = pairOf(ats[entry]);
      counts[pairs[entry]]++;
    }
  }

  /** Forgets an entry. Its bytes stay until the next `add`, so a row already made may still be carried out. */
  remove(entry: number): void {
    const bytes = slotBytes(this.lengths[entry]);
    this.datagrams.give(this.froms[entry], 1);
    this.bytes.give(this.froms[entry], bytes);
    this.gapBytes += bytes;
    this.counts[this.pairs[entry]]--;
    this.pairs[entry] = GAP;
    while (this.span > 0 && this.pairs[this.first] === GAP) {
      this.gapBytes -= slotBytes(this.lengths[this.first]);
      this.first = (this.first + 1) % BACKLOG_DATAGRAMS;
      this.span--;
    }
  }

  private entryAt(index: number): number {
    return (this.first + index) % BACKLOG_DATAGRAMS;
  }

  private get gapsAreWorthClosing(): boolean {
    const { bytes, datagrams } = WORTH_CLOSING;
    return this.gapBytes >= bytes || this.span - this.count >= datagrams;
  }

  /** Where so many bytes would lie behind the others, relative to the start; -1: nowhere. */
  private placeFor(needed: number): number {
    if (this.span === BACKLOG_DATAGRAMS) return -1;
    if (this.span === 0) return needed <= BACKLOG_BYTES ? 0 : -1;
    const oldest = this.ats[this.first] - FRAME_OFFSET - this.start;
    const place = this.fill;
    if (place <= oldest) return place + needed <= oldest ? place : -1;
    if (place + needed <= BACKLOG_BYTES) return place;
    return needed <= oldest ? 0 : -1;
  }

  /** Moves everything up to the oldest, which stays. */
  private closeGaps(): void {
    const { ats, froms, lengths, pairs, span, start } = this;
    const { bytes } = this.storage;
    this.gapBytes = 0;
    this.span = 0;
    for (let index = 0; index < span; index++) {
      const old = this.entryAt(index);
      if (pairs[old] === GAP) continue;
      const length = lengths[old];
      const needed = slotBytes(length);
      // What lies between the last one's end and this one are gaps, or the end of the room: there is a place for it.
      const place = index === 0 ? ats[old] - FRAME_OFFSET - start : this.placeFor(needed);
      const entry = this.entryAt(this.span++);
      const to = start + place + FRAME_OFFSET;
      if (to !== ats[old])
        bytes.copyWithin(to - HEADER_BYTES, ats[old] - HEADER_BYTES, ats[old] + length);
      ats[entry] = to;
      lengths[entry] = length;
      froms[entry] = froms[old];
      pairs[entry] = pairs[old];
      this.fill = place + needed;
    }
  }
}
