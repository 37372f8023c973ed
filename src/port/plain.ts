/**
 * The common case of gather and deliver on split rings: datagram after datagram in one plain buffer each, all in the same memory
 * region. Whatever is not that is left to `gatherOutput` and `putInput`, which come back here afterwards.
 *
 * Each is one loop without a call or another loop in it, inside a function that is made once: V8 then takes the captured arrays as
 * constants, their addresses and lengths stand in the machine code, and those of the rings stay in registers. Otherwise it loads and
 * checks each of them anew for each datagram, which costs more than the work itself (docs/performance.md).
 */
import {
  type BaseStorage,
  FRAME_OFFSET as ARENA_FRAME,
  HEADER_BYTES as ARENA_HEADER,
  MAX_FRAME_BYTES as ARENA_MAX_FRAME,
  SLOT_ALIGN as ARENA_ALIGN,
} from '../storage/base-storage.ts';
import type { CopyList } from '../storage/copy-list.ts';
import { DESC_F_INDIRECT, DESC_F_NEXT, DESC_F_WRITE } from '../virtio/chain.ts';
import type { GuestMemory } from '../virtio/guest-memory.ts';
import type { SplitQueue } from '../virtio/split-queue.ts';

// A module's own constants cost V8 nothing, imported ones a load and a check per use.
const FRAME_OFFSET = ARENA_FRAME;
const HEADER_BYTES = ARENA_HEADER;
const MAX_FRAME_BYTES = ARENA_MAX_FRAME;
const SLOT_ALIGN = ARENA_ALIGN;
const ETHERNET_HEADER = 14;
const RING = 2;
const WRITABLE = DESC_F_WRITE;
const NOT_PLAIN = DESC_F_NEXT | DESC_F_WRITE | DESC_F_INDIRECT;

/**
 * The common case, for as many datagrams as it lasts: each is one plain, readable buffer in the region of the last one. Returns how
 * many were taken (0: the next chain needs the careful way, or base storage is full), their bytes in `queue.movedBytes`.
 */
export type GatherPlain = (
  queue: SplitQueue,
  headerBytes: number,
  memory: GuestMemory,
  port: number,
  most: number,
  bytes: number,
) => number;

/** Makes the `GatherPlain` of this storage and copy list; once, see above. */
export function plainGather(storage: BaseStorage, copies: CopyList): GatherPlain {
  const { at: ats, length: lengths, from: froms } = storage;
  const { offsets, cells: rows } = copies;
  return function gatherPlain(queue, headerBytes, memory, port, most, bytes) {
    if (memory.count === 0) return 0;
    // As integers once, or each is unwrapped for each datagram.
    const number = port | 0;
    const header = headerBytes | 0;
    const room = bytes | 0;
    let limit = most | 0;
    if (limit > storage.slots - storage.count) limit = storage.slots - storage.count;
    if (limit > copies.rows - copies.count) limit = copies.rows - copies.count;
    const { avail, descriptors, elements } = queue;
    const size = queue.size | 0;
    const mask = queue.mask | 0;
    const arenaEnd = storage.limit | 0;
    const region = memory.last | 0;
    const start = memory.starts[region];
    const stop = memory.ends[region];
    const handle = memory.handles[region] | 0;
    const shortest = (header + ETHERNET_HEADER) | 0;
    const longest = (header + MAX_FRAME_BYTES) | 0;
    let next = queue.nextAvail | 0;
    let used = queue.nextUsed | 0;
    let row = copies.count | 0;
    let slot = storage.count | 0;
    let fill = storage.fill | 0;
    let moved = 0;
    let taken = 0;
    for (; taken < limit && moved < room; taken++) {
      const head = avail[RING + (next & mask)];
      if (head >= size) break;
      const word = head * 4;
      const flags = descriptors[word + 3];
      const total = descriptors[word + 2] >>> 0;
      const address = (descriptors[word + 1] >>> 0) * 4294967296 + (descriptors[word] >>> 0);
      if ((flags & NOT_PLAIN) !== 0 || total < shortest || total > longest) break;
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
      const element = (used & mask) * 2;
      if (elements[element] !== head) elements[element] = head;
      if (elements[element + 1] !== 0) elements[element + 1] = 0;
      used = (used + 1) & 0xffff;
      next = (next + 1) & 0xffff;
      moved = (moved + frame) | 0;
    }
    storage.count = slot;
    storage.fill = fill;
    copies.count = row;
    queue.nextAvail = next;
    queue.nextUsed = used;
    queue.movedBytes = moved;
    return taken;
  };
}

/**
 * The common case, for as many of slots [first, end) as it lasts: each datagram fits into one plain, writable buffer, and the
 * receiver takes a 12-byte header. Returns how many were put (0: `putInput` must look at the first), their frame bytes in
 * `queue.movedBytes`.
 */
export type PutPlain = (
  queue: SplitQueue,
  memory: GuestMemory,
  first: number,
  end: number,
) => number;

/** Makes the `PutPlain` of this storage and copy list; once, see above. */
export function plainPut(storage: BaseStorage, copies: CopyList): PutPlain {
  const { halves, at: ats, length: lengths } = storage;
  const { offsets, cells: rows } = copies;
  return function putPlain(queue, memory, first, end) {
    if (queue.log !== null || memory.count === 0) return 0;
    if (queue.ready === 0) {
      const available = queue.available();
      if (available <= 0) return 0;
      queue.ready = available;
    }
    const from = first | 0;
    let limit = ((end | 0) - from) | 0;
    if (limit > queue.ready) limit = queue.ready;
    if (limit > copies.rows - copies.count) limit = copies.rows - copies.count;
    const { avail, descriptors, elements } = queue;
    const size = queue.size | 0;
    const mask = queue.mask | 0;
    const region = memory.last | 0;
    const start = memory.starts[region];
    const stop = memory.ends[region];
    const handle = memory.handles[region] | 0;
    let next = queue.nextAvail | 0;
    let used = queue.nextUsed | 0;
    let row = copies.count | 0;
    let moved = 0;
    let put = 0;
    for (; put < limit; put++) {
      const head = avail[RING + (next & mask)];
      if (head >= size) break;
      const word = head * 4;
      const flags = descriptors[word + 3];
      const space = descriptors[word + 2] >>> 0;
      const address = (descriptors[word + 1] >>> 0) * 4294967296 + (descriptors[word] >>> 0);
      const at = ats[from + put];
      const length = lengths[from + put];
      const needed = HEADER_BYTES + length;
      if ((flags & NOT_PLAIN) !== WRITABLE || space < needed) break;
      if (!(address >= start && address + needed <= stop)) break;
      halves[(at - 2) >> 1] = 1; // num_buffers
      offsets[row * 3] = address - start;
      const cell = row * 6;
      rows[cell + 2] = handle;
      rows[cell + 3] = at - HEADER_BYTES;
      rows[cell + 4] = needed;
      row = (row + 1) | 0;
      const element = (used & mask) * 2;
      if (elements[element] !== head) elements[element] = head;
      if (elements[element + 1] !== needed) elements[element + 1] = needed;
      used = (used + 1) & 0xffff;
      next = (next + 1) & 0xffff;
      moved = (moved + length) | 0;
    }
    copies.count = row;
    queue.nextAvail = next;
    queue.nextUsed = used;
    queue.ready -= put;
    queue.movedBytes = moved;
    return put;
  };
}
