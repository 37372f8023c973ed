/**
 * The sending end of a ring to another turn worker. `put` reserves a place and adds the copy; after the copies of the turn `publish` shows
 * the consumer all of it at once. Only the consumer's index is read from shared memory, once per turn, and it can say nothing that
 * harms: one that is impossible counts as not moved. Nothing is allocated here.
 */
import { RECORD_CELLS, CELL } from '../counters.ts';
import { BROADCAST_HERE } from '../routing/verdict.ts';
import { HEADER_BYTES } from '../storage/base-storage.ts';
import type { CopyList } from '../storage/copy-list.ts';
import { ALIGN, DATA_BYTES, ENTRIES, ENTRY, ENTRY_MASK, RING } from './layout.ts';

const HANDED_OVER = CELL.handedOver;

/** What a sender that brings much may fill: the rest is for the others, whom it must not keep out. */
const HEAVY_ENTRIES = (ENTRIES * 3) / 4;
const HEAVY_BYTES = (DATA_BYTES * 3) / 4;

export class Outgoing {
  private readonly words: Int32Array;
  private readonly region: number;
  private readonly copies: CopyList;
  private readonly cells: Float64Array;
  private readonly produced: number;
  private readonly consumed: number;
  private readonly entries: number;
  private readonly data: number;

  /** Index of the next entry, of the first that is not published, and of the first that the consumer may still read. */
  private next: number;
  private shown: number;
  private oldest: number;
  /** The consumer's index was read in this turn. */
  private fresh = false;
  /** Where the bytes of each entry begin: our own note, so that nobody can change it. */
  private readonly places = new Int32Array(ENTRIES);
  /** Where the next bytes go. */
  private fill = 0;
  /** A worker before us left an impossible entry: what lies where is unknown until the ring is empty. */
  private blocked = false;

  /** `start`: byte offset of the ring in the region that `words` shows from its beginning. */
  constructor(
    words: Int32Array,
    region: number,
    start: number,
    copies: CopyList,
    cells: Float64Array,
  ) {
    this.words = words;
    this.region = region;
    this.copies = copies;
    this.cells = cells;
    this.produced = (start + RING.produced) >> 2;
    this.consumed = (start + RING.consumed) >> 2;
    this.entries = (start + RING.entries) >> 2;
    this.data = start + RING.data;
    this.next = Atomics.load(words, this.produced);
    this.shown = this.next;
    this.oldest = this.next - ENTRIES;
    this.look();
    this.resume();
  }

  /** How many are in the ring, as far as we know. */
  private get used(): number {
    return (this.next - this.oldest) | 0;
  }

  /** Takes up what a worker before us left in the ring. */
  private resume(): void {
    for (let index = this.oldest; index !== this.next; index = (index + 1) | 0) {
      const entry = this.entries + (index & ENTRY_MASK) * ENTRY.words;
      const offset = this.words[entry + ENTRY.offset];
      const end = offset + HEADER_BYTES + this.words[entry + ENTRY.length];
      const whole = offset >= 0 && end > offset && end <= DATA_BYTES;
      this.places[index & ENTRY_MASK] = offset;
      this.fill = (end + ALIGN - 1) & -ALIGN;
      if (!whole) this.blocked = true;
    }
  }

  /** Reads how far the consumer is. */
  private look(): void {
    this.fresh = true;
    const consumed = Atomics.load(this.words, this.consumed);
    const left = (this.next - consumed) | 0;
    if (left >= 0 && left <= this.used) this.oldest = consumed;
  }

  /**
   * Hands over the frame of `length` bytes at `at` of the arena, its virtio-net header in front. `heavy`: who sends it brings much.
   * False when there is no room.
   */
  put(at: number, length: number, from: number, to: number, heavy: boolean): boolean {
    if (!this.fresh) this.look();
    const needed = (HEADER_BYTES + length + ALIGN - 1) & -ALIGN;
    const place = this.placeFor(needed, heavy);
    if (place < 0) return false;
    const { words, copies } = this;
    const index = this.next & ENTRY_MASK;
    const entry = this.entries + index * ENTRY.words;
    words[entry + ENTRY.offset] = place;
    words[entry + ENTRY.length] = length;
    words[entry + ENTRY.from] = from;
    words[entry + ENTRY.to] = to;
    if (copies.count === copies.rows) copies.deliver();
    copies.add(this.region, this.data + place, at - HEADER_BYTES, HEADER_BYTES + length);
    this.places[index] = place;
    this.fill = place + needed;
    this.next = (this.next + 1) | 0;
    return true;
  }

  /** Where `needed` bytes can go, or -1. */
  private placeFor(needed: number, heavy: boolean): number {
    const { used, fill } = this;
    // Empty: from the front again, so that a ring that is emptied fast stays in the caches.
    if (used === 0) {
      this.blocked = false;
      return 0;
    }
    if (this.blocked) return -1;
    if (used >= (heavy ? HEAVY_ENTRIES : ENTRIES)) return -1;
    const oldest = this.places[this.oldest & ENTRY_MASK];
    const bytes = fill > oldest ? fill - oldest : DATA_BYTES - oldest + fill;
    if (heavy && bytes + needed > HEAVY_BYTES) return -1;
    if (fill <= oldest) return fill + needed <= oldest ? fill : -1;
    if (fill + needed <= DATA_BYTES) return fill;
    return needed <= oldest ? 0 : -1;
  }

  /** After the copies: shows the consumer what was put. False when there was nothing. */
  publish(): boolean {
    this.fresh = false;
    if (this.next === this.shown) return false;
    const { words, cells } = this;
    for (let index = this.shown; index !== this.next; index = (index + 1) | 0) {
      const entry = this.entries + (index & ENTRY_MASK) * ENTRY.words;
      const from = words[entry + ENTRY.from];
      // Copies of broadcasts, and what the base itself says, are in nobody's books.
      if (from >= 0 && words[entry + ENTRY.to] !== BROADCAST_HERE)
        cells[from * RECORD_CELLS + HANDED_OVER]++;
    }
    Atomics.store(words, this.produced, this.next);
    this.shown = this.next;
    return true;
  }
}
