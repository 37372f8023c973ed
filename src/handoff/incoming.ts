/**
 * The receiving end of a ring from another turn worker: gathered like an adapter's receive ring. The producer's index is read
 * once per turn, and every entry once; they are checked as if anybody could have written them, as a worker that failed may have
 * left anything. What is impossible is left out and counted, never followed. Nothing is allocated here.
 */
import { HEADER_BYTES, MAX_FRAME_BYTES, type BaseStorage } from '../storage/base-storage.ts';
import type { CopyList } from '../storage/copy-list.ts';
import { DATA_BYTES, ENTRIES, ENTRY, ENTRY_MASK, RING } from './layout.ts';
import type { HandedColumns } from '../routing/handed-columns.ts';

export class Incoming {
  private readonly words: Int32Array;
  private readonly region: number;
  private readonly storage: BaseStorage;
  private readonly copies: CopyList;
  private readonly columns: HandedColumns;
  private readonly produced: number;
  private readonly consumed: number;
  private readonly entries: number;
  private readonly data: number;
  /** What a slot's `from` says until it is routed. */
  private readonly mark: number;

  private next: number;
  private shown: number;
  /** Entries, or the whole ring, left out because they were impossible: a fault of ours. */
  damaged = 0;

  /** `start`: byte offset of the ring in the region that `words` shows from its beginning. */
  constructor(
    words: Int32Array,
    region: number,
    start: number,
    storage: BaseStorage,
    copies: CopyList,
    columns: HandedColumns,
    mark: number,
  ) {
    this.words = words;
    this.region = region;
    this.storage = storage;
    this.copies = copies;
    this.columns = columns;
    this.mark = mark;
    this.produced = (start + RING.produced) >> 2;
    this.consumed = (start + RING.consumed) >> 2;
    this.entries = (start + RING.entries) >> 2;
    this.data = start + RING.data;
    this.next = Atomics.load(words, this.consumed);
    this.shown = this.next;
  }

  /** True when datagrams wait. One atomic load: cheap enough to poll. */
  hasWork(): boolean {
    return Atomics.load(this.words, this.produced) !== this.next;
  }

  /** Takes datagrams into base storage until `datagrams` or `bytes` were taken, storage is full or nothing is left; how many. */
  gather(datagrams: number, bytes: number): number {
    const { words, storage, copies, columns } = this;
    const produced = Atomics.load(words, this.produced);
    const waiting = (produced - this.next) | 0;
    if (waiting < 0 || waiting > ENTRIES) {
      this.damaged++;
      this.next = produced;
      return 1;
    }
    let taken = 0;
    let moved = 0;
    while (taken < waiting && taken < datagrams && moved < bytes) {
      const entry = this.entries + (this.next & ENTRY_MASK) * ENTRY.words;
      const offset = words[entry + ENTRY.offset];
      const length = words[entry + ENTRY.length];
      const from = words[entry + ENTRY.from];
      const to = words[entry + ENTRY.to];
      const whole =
        offset >= 0 &&
        length >= 0 &&
        length <= MAX_FRAME_BYTES &&
        offset + HEADER_BYTES + length <= DATA_BYTES;
      if (!whole || !columns.possible(from, to, length)) {
        this.damaged++;
      } else {
        if (copies.count === copies.rows) copies.gather();
        const slot = storage.take(this.mark, length);
        if (slot < 0) break;
        copies.add(
          this.region,
          this.data + offset,
          storage.at[slot] - HEADER_BYTES,
          HEADER_BYTES + length,
        );
        columns.from[slot] = from;
        columns.to[slot] = to;
        moved += length;
      }
      this.next = (this.next + 1) | 0;
      taken++;
    }
    return taken;
  }

  /** After the copies: the producer may use again what was taken. */
  release(): void {
    if (this.next === this.shown) return;
    this.shown = this.next;
    Atomics.store(this.words, this.consumed, this.next);
  }
}
