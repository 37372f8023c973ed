/**
 * Base storage: where every datagram is while the base decides about it.
 *
 * One arena that a turn fills from the front and that is empty again at its end; no free lists. A datagram
 * lies contiguous, its virtio-net header (always 12 bytes here, virtio 1.3 §5.1.6) directly in front of the Ethernet frame:
 *
 *     slot start (64-byte aligned)
 *     +0            +2                  +14                +28
 *     | 2 unused    | virtio-net header | Ethernet header  | IP header, so 4-byte aligned ...
 *                                       ^ at[slot]
 *
 * so that all of a small datagram's headers share one cache line and IP addresses are read as one aligned word. What is
 * known of a datagram stands in columns beside it, indexed by slot. Nobody but the base writes here: the
 * arena is never shared with a guest, so what was checked stays checked.
 *
 * Words are read in the machine's (little-endian) order: an IPv4 address is used as the int32 that the four
 * bytes make there (its *key*), never swapped.
 */
import { HEADER_BYTES } from '../wire/virtio-net-header.ts';

export const SLOT_ALIGN = 64;
/** Bytes of the virtio-net header in the arena, in front of the frame. */
export { HEADER_BYTES };
/** From the start of a slot to its Ethernet frame. */
export const FRAME_OFFSET = 2 + HEADER_BYTES;
/** 64 KiB of IP and what goes around it. */
export const MAX_FRAME_BYTES = 65_550;

export class BaseStorage {
  /** The arena; the same memory three ways. */
  readonly bytes: Uint8Array;
  readonly halves: Uint16Array;
  readonly words: Int32Array;

  /** Offset of the Ethernet frame; at % 4 == 2. */
  readonly at: Int32Array;
  /** Bytes of the Ethernet frame, virtio-net header not counted. */
  readonly length: Int32Array;
  /** Port the datagram came from. */
  readonly from: Int32Array;
  /** Port it goes to, or a verdict below 0 (see routing/verdict.ts). */
  readonly to: Int32Array;
  /** Of a datagram that goes on in pieces: the slot of the first one, and their number. */
  readonly firstPiece: Int32Array;
  readonly pieces: Int32Array;

  /** Slots taken in this turn. */
  count = 0;
  /** Where the next slot starts. */
  fill = 0;
  /** First byte, and first slot, that may not be used just now. */
  limit: number;
  slots: number;
  /** What is kept back for those who come last. */
  private keptBytes = 0;
  private keptSlots = 0;

  /** `arena` is the whole arena; turns use its first `limit` bytes (backlogs live behind). */
  constructor(arena: ArrayBuffer, limit: number, slots: number) {
    this.bytes = new Uint8Array(arena);
    this.halves = new Uint16Array(arena);
    this.words = new Int32Array(arena);
    this.limit = limit;
    this.slots = slots;
    this.at = new Int32Array(slots);
    this.length = new Int32Array(slots);
    this.from = new Int32Array(slots);
    this.to = new Int32Array(slots);
    this.firstPiece = new Int32Array(slots);
    this.pieces = new Int32Array(slots);
  }

  /** Takes a slot for a frame of `length` bytes; its number, or -1 when storage is full. */
  take(from: number, length: number): number {
    const slot = this.count;
    const start = this.fill;
    const next = start + slotBytes(length);
    if (slot >= this.slots || next > this.limit) return -1;
    this.count = slot + 1;
    this.fill = next;
    this.at[slot] = start + FRAME_OFFSET;
    this.length[slot] = length;
    this.from[slot] = from;
    return slot;
  }

  /** The datagram in `slot` goes on as the `count` slots from `first` on. */
  cut(slot: number, first: number, count: number): void {
    this.firstPiece[slot] = first;
    this.pieces[slot] = count;
  }

  /** True when it can give `count` slots, the last for a frame of `lastLength` bytes, the others for `length` each. */
  hasRoom(count: number, length: number, lastLength: number): boolean {
    const need = (count - 1) * slotBytes(length) + slotBytes(lastLength);
    return this.count + count <= this.slots && this.fill + need <= this.limit;
  }

  /** Keeps room back for who comes last, until `release`: whoever fills storage must not keep them out. */
  keepBack(bytes: number, slots: number): void {
    this.limit -= bytes;
    this.slots -= slots;
    this.keptBytes += bytes;
    this.keptSlots += slots;
  }

  /** All of it may be used again. */
  release(): void {
    this.limit += this.keptBytes;
    this.slots += this.keptSlots;
    this.keptBytes = 0;
    this.keptSlots = 0;
  }

  /** Empties it: the turn is over. */
  clear(): void {
    this.count = 0;
    this.fill = 0;
  }
}

/** Bytes that a frame of `length` takes of the arena. */
export function slotBytes(length: number): number {
  return (FRAME_OFFSET + length + SLOT_ALIGN - 1) & -SLOT_ALIGN;
}
