/**
 * `plain.ts` for packed rings: the common case of gather and deliver, in one loop without a call, inside a function that is made once
 * (why: see there). A run ends at the end of the ring, where the wrap bits turn over.
 *
 * A descriptor's last word is read first and once: it says whose the descriptor is, and x86-64, the only machine we run on, does not
 * let the loads of the other words pass it (V8 keeps their order, too).
 */
import {
  SLOT_ALIGN as ARENA_ALIGN,
  FRAME_OFFSET as ARENA_FRAME,
  HEADER_BYTES as ARENA_HEADER,
  MAX_FRAME_BYTES as ARENA_MAX_FRAME,
  type BaseStorage,
} from '../storage/base-storage.ts';
import type { CopyList } from '../storage/copy-list.ts';
import { DESC_F_INDIRECT, DESC_F_NEXT, DESC_F_WRITE } from '../virtio/chain.ts';
import type { GuestMemory } from '../virtio/guest-memory.ts';
import { DESC_F_AVAIL, DESC_F_USED, type PackedQueue } from '../virtio/packed-queue.ts';

// A module's own constants cost V8 nothing, imported ones a load and a check per use.
const FRAME_OFFSET = ARENA_FRAME;
const HEADER_BYTES = ARENA_HEADER;
const MAX_FRAME_BYTES = ARENA_MAX_FRAME;
const SLOT_ALIGN = ARENA_ALIGN;
const ETHERNET_HEADER = 14;
/** Flags as they stand in a descriptor's last word, above the buffer id. */
const WRITE = DESC_F_WRITE << 16;
const AVAIL = DESC_F_AVAIL << 16;
const USED = DESC_F_USED << 16;
const MATTERS = ((DESC_F_NEXT | DESC_F_WRITE | DESC_F_INDIRECT) << 16) | AVAIL | USED;

/** As `GatherPlain`, without `queue` having been looked at: 0 also when nothing is available. */
export type GatherPlainPacked = (
  queue: PackedQueue,
  headerBytes: number,
  memory: GuestMemory,
  port: number,
  most: number,
  bytes: number,
) => number;

/** Makes the `GatherPlainPacked` of this storage and copy list; once. */
export function plainGatherPacked(storage: BaseStorage, copies: CopyList): GatherPlainPacked {
  const { at: ats, length: lengths, from: froms } = storage;
  const { offsets, cells: rows } = copies;
  return function gatherPlainPacked(queue, headerBytes, memory, port, most, bytes) {
    if (memory.count === 0 || !queue.inStep || queue.log !== null) return 0;
    // As integers once, or each is unwrapped for each datagram.
    const number = port | 0;
    const header = headerBytes | 0;
    const room = bytes | 0;
    const first = queue.nextAvail | 0;
    let limit = most | 0;
    if (limit > queue.size - first) limit = (queue.size - first) | 0;
    if (limit > storage.slots - storage.count) limit = (storage.slots - storage.count) | 0;
    if (limit > copies.rows - copies.count) limit = (copies.rows - copies.count) | 0;
    const { descriptors } = queue;
    const available = queue.availWrap === 1 ? AVAIL : USED;
    const given = queue.availWrap === 1 ? AVAIL | USED : 0;
    const arenaEnd = storage.limit | 0;
    const region = memory.last | 0;
    const start = memory.starts[region];
    const stop = memory.ends[region];
    const handle = memory.handles[region] | 0;
    const shortest = (header + ETHERNET_HEADER) | 0;
    const longest = (header + MAX_FRAME_BYTES) | 0;
    let row = copies.count | 0;
    let slot = storage.count | 0;
    let fill = storage.fill | 0;
    let moved = 0;
    let taken = 0;
    let shows = queue.hiddenWord | 0;
    let hidden = queue.hiddenAt | 0;
    for (; taken < limit && moved < room; taken++) {
      const word = (first + taken) * 4;
      const last = descriptors[word + 3];
      if ((last & MATTERS) !== available) break;
      const total = descriptors[word + 2] >>> 0;
      const address = (descriptors[word + 1] >>> 0) * 4294967296 + (descriptors[word] >>> 0);
      if (total < shortest || total > longest) break;
      if (!(address >= start && address + total <= stop)) break;
      const frame = (total - header) | 0;
      const after = (fill + FRAME_OFFSET + frame + SLOT_ALIGN - 1) & -SLOT_ALIGN;
      if (after > arenaEnd) break;
      ats[slot] = fill + FRAME_OFFSET;
      lengths[slot] = frame;
      froms[slot] = number;
      slot = (slot + 1) | 0;
      offsets[row * 3] = address - start;
      const cell = row * 6;
      rows[cell + 2] = handle;
      rows[cell + 3] = fill + FRAME_OFFSET - header;
      rows[cell + 4] = total;
      row = (row + 1) | 0;
      fill = after;
      const used = (last & 0xffff) | given;
      descriptors[word + 2] = 0;
      if (hidden < 0) {
        hidden = (first + taken) | 0;
        shows = used;
      } else {
        descriptors[word + 3] = used;
      }
      moved = (moved + frame) | 0;
    }
    storage.count = slot;
    storage.fill = fill;
    copies.count = row;
    queue.hiddenAt = hidden;
    queue.hiddenWord = shows;
    queue.movedBytes = moved;
    queue.stepTo(first + taken);
    return taken;
  };
}

/** As `PutPlain`. */
export type PutPlainPacked = (
  queue: PackedQueue,
  memory: GuestMemory,
  first: number,
  end: number,
) => number;

/** Makes the `PutPlainPacked` of this storage and copy list; once. */
export function plainPutPacked(storage: BaseStorage, copies: CopyList): PutPlainPacked {
  const { halves, at: ats, length: lengths } = storage;
  const { offsets, cells: rows } = copies;
  return function putPlainPacked(queue, memory, first, end) {
    if (memory.count === 0 || !queue.inStep || queue.log !== null) return 0;
    const from = first | 0;
    const position = queue.nextAvail | 0;
    let limit = ((end | 0) - from) | 0;
    if (limit > queue.size - position) limit = (queue.size - position) | 0;
    if (limit > copies.rows - copies.count) limit = (copies.rows - copies.count) | 0;
    const { descriptors } = queue;
    const available = (queue.availWrap === 1 ? AVAIL : USED) | WRITE;
    const given = (queue.availWrap === 1 ? AVAIL | USED : 0) | WRITE;
    const region = memory.last | 0;
    const start = memory.starts[region];
    const stop = memory.ends[region];
    const handle = memory.handles[region] | 0;
    let row = copies.count | 0;
    let moved = 0;
    let put = 0;
    let shows = queue.hiddenWord | 0;
    let hidden = queue.hiddenAt | 0;
    for (; put < limit; put++) {
      const word = (position + put) * 4;
      const last = descriptors[word + 3];
      if ((last & MATTERS) !== available) break;
      const space = descriptors[word + 2] >>> 0;
      const address = (descriptors[word + 1] >>> 0) * 4294967296 + (descriptors[word] >>> 0);
      const at = ats[from + put];
      const length = lengths[from + put];
      const needed = HEADER_BYTES + length;
      if (space < needed) break;
      if (!(address >= start && address + needed <= stop)) break;
      halves[(at - 2) >> 1] = 1; // num_buffers
      offsets[row * 3] = address - start;
      const cell = row * 6;
      rows[cell + 2] = handle;
      rows[cell + 3] = at - HEADER_BYTES;
      rows[cell + 4] = needed;
      row = (row + 1) | 0;
      const used = (last & 0xffff) | given;
      descriptors[word + 2] = needed;
      if (hidden < 0) {
        hidden = (position + put) | 0;
        shows = used;
      } else {
        descriptors[word + 3] = used;
      }
      moved = (moved + length) | 0;
    }
    copies.count = row;
    queue.hiddenAt = hidden;
    queue.hiddenWord = shows;
    queue.movedBytes = moved;
    queue.stepTo(position + put);
    return put;
  };
}
