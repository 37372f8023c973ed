/**
 * The common case of gather and deliver on split rings: datagram after datagram in one plain buffer each, all in the same memory
 * region. Whatever is not that is left to `gatherOutput` and `putInput`, which come back here afterwards.
 *
 * Each is one loop without a call or another loop in it, inside a function that is made once: V8 then takes the captured arrays as
 * constants, and their addresses and lengths stand in the machine code. Otherwise it loads and checks each of them anew for each
 * datagram, which costs more than the work itself (docs/performance.md).
 *
 * The numbers a loop works with are written into an array, `held`, and read back: whatever V8 has to do with a number before it can
 * be used (a field's is wrapped) it moves to where it is used, into the loop. What comes out of an array is ready, and stays where it
 * was read. Rows of the copy list are written as COPY_ROW says, in numbers.
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
import { RING as AVAIL_RING, type SplitQueue } from '../virtio/split-queue.ts';
import { HEADER_BYTES as ETHERNET_HEADER_BYTES } from '../wire/ethernet.ts';

// A module's own constants cost V8 nothing, imported ones a load and a check per use.
const FRAME_OFFSET = ARENA_FRAME;
const HEADER_BYTES = ARENA_HEADER;
const MAX_FRAME_BYTES = ARENA_MAX_FRAME;
const SLOT_ALIGN = ARENA_ALIGN;
const ETHERNET_HEADER = ETHERNET_HEADER_BYTES;
const RING = AVAIL_RING;
const WRITABLE = DESC_F_WRITE;
const NOT_PLAIN = DESC_F_NEXT | DESC_F_WRITE | DESC_F_INDIRECT;

/**
 * The common case, for as many datagrams as it lasts: each is one plain, readable buffer in the region of the last one. Returns how
 * many were taken (0: the next chain needs the careful way, or base storage is full), their bytes in `queue.movedBytes`.
 */
export type GatherPlain<Queue = SplitQueue> = (
  queue: Queue,
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
  const held = new Int32Array(12);
  return function gatherPlain(queue, headerBytes, memory, port, most, bytes) {
    if (memory.count === 0) return 0;
    let limit = most;
    if (limit > storage.slots - storage.count) limit = storage.slots - storage.count;
    if (limit > copies.rows - copies.count) limit = copies.rows - copies.count;
    const { avail, descriptors, elements } = queue;
    held[0] = limit;
    held[1] = bytes;
    held[2] = port;
    held[3] = headerBytes;
    held[4] = queue.size;
    held[5] = queue.mask;
    held[6] = queue.nextAvail;
    held[7] = queue.nextUsed;
    held[8] = storage.count;
    held[9] = storage.fill;
    held[10] = storage.limit;
    held[11] = copies.count * 3;
    const end = held[0];
    const room = held[1];
    const number = held[2];
    const header = held[3];
    const size = held[4];
    const mask = held[5];
    let next = held[6];
    let used = held[7];
    let slot = held[8];
    let fill = held[9];
    const arenaEnd = held[10];
    let row = held[11]; // in doubles
    const region = memory.last;
    const start = memory.starts[region];
    const stop = memory.ends[region];
    const handle = memory.handles[region];
    let moved = 0;
    let taken = 0;
    for (; taken < end && moved < room; taken = (taken + 1) | 0) {
      const head = avail[(RING + (next & mask)) | 0];
      const word = head << 2;
      if (head >= size) break;
      const flags = descriptors[word | 3];
      const total = descriptors[word | 2];
      const address = (descriptors[word | 1] >>> 0) * 4294967296 + (descriptors[word] >>> 0);
      // A length of 2^31 or more is negative here, or wraps to far more than the longest.
      const frame = (total - header) | 0;
      if ((flags & NOT_PLAIN) !== 0 || frame < ETHERNET_HEADER || frame > MAX_FRAME_BYTES) break;
      if (!(address >= start && address + total <= stop)) break;
      const at = (fill + FRAME_OFFSET) | 0;
      const after = (at + frame + SLOT_ALIGN - 1) & -SLOT_ALIGN;
      if (after > arenaEnd) break;
      ats[slot] = at;
      lengths[slot] = frame;
      froms[slot] = number;
      slot = (slot + 1) | 0;
      offsets[row] = address - start;
      const cell = row << 1;
      rows[(cell + 2) | 0] = handle;
      rows[(cell + 3) | 0] = (at - header) | 0;
      rows[(cell + 4) | 0] = total;
      row = (row + 3) | 0;
      fill = after;
      const element = (used & mask) << 1;
      if (elements[element] !== head) elements[element] = head;
      if (elements[element | 1] !== 0) elements[element | 1] = 0;
      used = (used + 1) & 0xffff;
      next = (next + 1) & 0xffff;
      moved = (moved + frame) | 0;
    }
    storage.count = slot;
    storage.fill = fill;
    copies.count += taken;
    queue.nextAvail = next;
    queue.nextUsed = used;
    queue.movedBytes = moved;
    return taken;
  };
}

/**
 * The common case, for the slots from `first` on, before `end`, that go from port `source` to port `number`, for as many as it
 * lasts: each datagram fits into one plain, writable buffer, and the receiver takes a 12-byte header. Returns how many were put (0:
 * `putInput` must look at the first), their frame bytes in `queue.movedBytes`.
 */
export type PutPlain<Queue = SplitQueue> = (
  queue: Queue,
  memory: GuestMemory,
  first: number,
  end: number,
  number: number,
  source: number,
) => number;

/** Makes the `PutPlain` of this storage and copy list; once, see above. */
export function plainPut(storage: BaseStorage, copies: CopyList): PutPlain {
  const { halves, at: ats, length: lengths, from: froms, to } = storage;
  const { offsets, cells: rows } = copies;
  const held = new Int32Array(9);
  return function putPlain(queue, memory, first, end, number, source) {
    if (queue.log !== null || memory.count === 0) return 0;
    if (queue.ready === 0) {
      const available = queue.available();
      if (available <= 0) return 0;
      queue.ready = available;
    }
    let most = end - first;
    if (most > queue.ready) most = queue.ready;
    if (most > copies.rows - copies.count) most = copies.rows - copies.count;
    const { avail, descriptors, elements } = queue;
    held[0] = first;
    held[1] = first + most;
    held[2] = number;
    held[3] = source;
    held[4] = queue.size;
    held[5] = queue.mask;
    held[6] = queue.nextAvail;
    held[7] = queue.nextUsed;
    held[8] = copies.count * 3;
    let slot = held[0];
    const behind = held[1];
    const receiver = held[2];
    const sender = held[3];
    const size = held[4];
    const mask = held[5];
    let next = held[6];
    let used = held[7];
    let row = held[8]; // in doubles
    const region = memory.last;
    const start = memory.starts[region];
    const stop = memory.ends[region];
    const handle = memory.handles[region];
    let moved = 0;
    for (; slot < behind; slot = (slot + 1) | 0) {
      if (to[slot] !== receiver || froms[slot] !== sender) break;
      const head = avail[(RING + (next & mask)) | 0];
      const word = head << 2;
      if (head >= size) break;
      const flags = descriptors[word | 3];
      const space = descriptors[word | 2] >>> 0;
      const address = (descriptors[word | 1] >>> 0) * 4294967296 + (descriptors[word] >>> 0);
      const at = ats[slot];
      const length = lengths[slot];
      const needed = (HEADER_BYTES + length) | 0;
      if ((flags & NOT_PLAIN) !== WRITABLE || space < needed) break;
      if (!(address >= start && address + needed <= stop)) break;
      halves[(at - 2) >> 1] = 1; // num_buffers
      offsets[row] = address - start;
      const cell = row << 1;
      rows[(cell + 2) | 0] = handle;
      rows[(cell + 3) | 0] = (at - HEADER_BYTES) | 0;
      rows[(cell + 4) | 0] = needed;
      row = (row + 3) | 0;
      const element = (used & mask) << 1;
      if (elements[element] !== head) elements[element] = head;
      if (elements[element | 1] !== needed) elements[element | 1] = needed;
      used = (used + 1) & 0xffff;
      next = (next + 1) & 0xffff;
      moved = (moved + length) | 0;
    }
    const put = slot - first;
    copies.count += put;
    queue.nextAvail = next;
    queue.nextUsed = used;
    queue.ready -= put;
    queue.movedBytes = moved;
    return put;
  };
}
