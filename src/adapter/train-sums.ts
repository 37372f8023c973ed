/**
 * Sums over the UDP datagrams that a train may take (RFC 768), of as many as are likely to follow each other in one native call: in
 * TypeScript the sum over a long datagram costs more than its copy.
 */
import type { Native } from '../native.ts';
import type { BaseStorage } from '../storage/base-storage.ts';

export class TrainSums {
  private readonly native: Native;
  private readonly storage: BaseStorage;
  /** Bytes of a frame in front of what is summed. */
  private readonly skipped: number;
  private readonly most: number;
  /** Of the slots [first, end): offset and length in the arena, where the offset has become the sum. */
  private readonly ranges: Int32Array;
  private first = 0;
  private end = 0;

  /** `skipped`: of each frame so many bytes are left out. `most`: slots that are looked at in one call. */
  constructor(native: Native, storage: BaseStorage, skipped: number, most: number) {
    this.native = native;
    this.storage = storage;
    this.skipped = skipped;
    this.most = most;
    this.ranges = new Int32Array(2 * most);
  }

  /** The folded sum over the frame in `slot`, from `skipped` on. It is read once: call `forget` before the slots are filled anew. */
  of(slot: number): number {
    if (slot < this.first || slot >= this.end) this.look(slot);
    return this.ranges[(slot - this.first) << 1];
  }

  /** The slots hold other frames from now on. */
  forget(): void {
    this.end = this.first;
  }

  /** Sums this slot's, and those behind it that are no longer and go to the same receiver. */
  private look(slot: number): void {
    const { ranges, skipped, storage } = this;
    const { at, length, to } = storage;
    const bytes = length[slot];
    const receiver = to[slot];
    const limit = Math.min(storage.count, slot + this.most);
    let end = slot;
    for (let entry = 0; end < limit && to[end] === receiver; end++) {
      if (length[end] > bytes || length[end] <= skipped) break;
      ranges[entry++] = at[end] + skipped;
      ranges[entry++] = length[end] - skipped;
    }
    this.first = slot;
    this.end = end;
    this.native.sumRanges(ranges, end - slot);
  }
}
