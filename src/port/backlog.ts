/**
 * What could not be delivered just now and may wait: the receiver's ring was full for a moment. Bounded in
 * datagrams and bytes, in a part of the arena of its own, so that a waiting datagram is delivered by the same rows as
 * any other. A ring of bytes; a datagram lies contiguous, so one that doesn't fit before the end starts again at the front.
 *
 * Whoever floods a receiver fills its backlog up to FOR_ALL only; what is behind that is shared out (`storage/shared-room.ts`).
 */
import {
  FRAME_OFFSET,
  HEADER_BYTES,
  slotBytes,
  type BaseStorage,
} from '../storage/base-storage.ts';
import { SharedRoom } from '../storage/shared-room.ts';

export const BACKLOG_BYTES = 640 * 1024;
export const BACKLOG_DATAGRAMS = 640;
/** What anyone may fill, one sender alone, too. */
export const FOR_ALL = { bytes: 512 * 1024, datagrams: 512 } as const;

export class Backlog {
  private readonly storage: BaseStorage;
  private readonly start: number;
  private readonly ats = new Int32Array(BACKLOG_DATAGRAMS);
  private readonly lengths = new Int32Array(BACKLOG_DATAGRAMS);
  private readonly froms = new Int32Array(BACKLOG_DATAGRAMS);
  private first = 0;
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
   * Copies the frame at `at`, with its virtio-net header, behind the others; false when it is full, or what is left is not for
   * this sender.
   */
  add(at: number, length: number, from: number): boolean {
    const needed = slotBytes(length);
    if (!this.datagrams.mayTake(from, 1) || !this.bytes.mayTake(from, needed)) return false;
    if (this.count === 0) this.fill = 0;
    const oldest = this.count === 0 ? 0 : this.ats[this.first] - FRAME_OFFSET - this.start;
    let place = this.fill;
    if (this.count > 0 && place <= oldest) {
      if (place + needed > oldest) return false;
    } else if (place + needed > BACKLOG_BYTES) {
      if (this.count > 0 && needed > oldest) return false;
      if (needed > BACKLOG_BYTES) return false;
      place = 0;
    }
    const entry = (this.first + this.count) % BACKLOG_DATAGRAMS;
    const to = this.start + place + FRAME_OFFSET;
    this.storage.bytes.copyWithin(to - HEADER_BYTES, at - HEADER_BYTES, at + length);
    this.ats[entry] = to;
    this.lengths[entry] = length;
    this.froms[entry] = from;
    this.fill = place + needed;
    this.datagrams.take(from, 1);
    this.bytes.take(from, needed);
    return true;
  }

  /** How many wait. */
  get count(): number {
    return this.datagrams.used;
  }

  /** The oldest: where its frame is, its length, the port it came from. */
  get at(): number {
    return this.ats[this.first];
  }

  get length(): number {
    return this.lengths[this.first];
  }

  get from(): number {
    return this.froms[this.first];
  }

  /** Forgets the oldest. Its bytes stay until the next `add`, so a row already made may still be carried out. */
  shift(): void {
    this.datagrams.give(this.from, 1);
    this.bytes.give(this.from, slotBytes(this.length));
    this.first = (this.first + 1) % BACKLOG_DATAGRAMS;
  }
}
