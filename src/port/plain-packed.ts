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
import { DESC_F_AVAIL, DESC_F_USED, type PackedQueue } from '../virtio/packed-queue.ts';
import { HEADER_BYTES as ETHERNET_HEADER_BYTES } from '../wire/ethernet.ts';
import type { GatherPlain, PutPlain } from './plain.ts';

// A module's own constants cost V8 nothing, imported ones a load and a check per use.
const FRAME_OFFSET = ARENA_FRAME;
const HEADER_BYTES = ARENA_HEADER;
const MAX_FRAME_BYTES = ARENA_MAX_FRAME;
const SLOT_ALIGN = ARENA_ALIGN;
const ETHERNET_HEADER = ETHERNET_HEADER_BYTES;
/** Flags as they stand in a descriptor's last word, above the buffer id. */
const WRITE = DESC_F_WRITE << 16;
const AVAIL = DESC_F_AVAIL << 16;
const USED = DESC_F_USED << 16;
const MATTERS = ((DESC_F_NEXT | DESC_F_WRITE | DESC_F_INDIRECT) << 16) | AVAIL | USED;

/** As `GatherPlain`, without `queue` having been looked at: 0 also when nothing is available. */
export type GatherPlainPacked = GatherPlain<PackedQueue>;

/** Makes the `GatherPlainPacked` of this storage and copy list; once. */
export function plainGatherPacked(storage: BaseStorage, copies: CopyList): GatherPlainPacked {
  const { at: ats, length: lengths, from: froms } = storage;
  const { offsets, cells: rows } = copies;
  const held = new Int32Array(13);
  return function gatherPlainPacked(queue, headerBytes, memory, port, most, bytes) {
    if (memory.count === 0 || !queue.inStep || queue.log !== null) return 0;
    const first = queue.nextAvail;
    let limit = most;
    if (limit > queue.size - first) limit = queue.size - first;
    if (limit > storage.slots - storage.count) limit = storage.slots - storage.count;
    if (limit > copies.rows - copies.count) limit = copies.rows - copies.count;
    const { descriptors } = queue;
    // Why through `held`, says `plain.ts`.
    held[0] = limit;
    held[1] = bytes;
    held[2] = port;
    held[3] = headerBytes;
    held[4] = queue.availWrap === 1 ? AVAIL : USED;
    held[5] = queue.availWrap === 1 ? AVAIL | USED : 0;
    held[6] = first * 4;
    held[7] = queue.hiddenAt;
    held[8] = queue.hiddenWord;
    held[9] = storage.count;
    held[10] = storage.fill;
    held[11] = storage.limit;
    held[12] = copies.count * 3;
    const end = held[0];
    const room = held[1];
    const number = held[2];
    const header = held[3];
    const available = held[4];
    const given = held[5];
    let word = held[6];
    let hidden = held[7];
    let shows = held[8];
    let slot = held[9];
    let fill = held[10];
    const arenaEnd = held[11];
    let row = held[12]; // in doubles
    const region = memory.last;
    const start = memory.starts[region];
    const stop = memory.ends[region];
    const handle = memory.handles[region];
    let moved = 0;
    let taken = 0;
    for (; taken < end && moved < room; taken = (taken + 1) | 0) {
      const last = descriptors[word | 3];
      if ((last & MATTERS) !== available) break;
      const total = descriptors[word | 2];
      const address = (descriptors[word | 1] >>> 0) * 4294967296 + (descriptors[word] >>> 0);
      const frame = (total - header) | 0;
      if (frame < ETHERNET_HEADER || frame > MAX_FRAME_BYTES) break;
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
      const used = (last & 0xffff) | given;
      descriptors[word | 2] = 0;
      if (hidden < 0) {
        hidden = word >> 2;
        shows = used;
      } else {
        descriptors[word | 3] = used;
      }
      word = (word + 4) | 0;
      moved = (moved + frame) | 0;
    }
    storage.count = slot;
    storage.fill = fill;
    copies.count += taken;
    queue.hiddenAt = hidden;
    queue.hiddenWord = shows;
    queue.movedBytes = moved;
    queue.stepTo(first + taken);
    return taken;
  };
}

export type PutPlainPacked = PutPlain<PackedQueue>;

/** Makes the `PutPlainPacked` of this storage and copy list; once. */
export function plainPutPacked(storage: BaseStorage, copies: CopyList): PutPlainPacked {
  const { halves, at: ats, length: lengths, from: froms, to } = storage;
  const { offsets, cells: rows } = copies;
  const held = new Int32Array(10);
  return function putPlainPacked(queue, memory, first, end, number, source) {
    if (memory.count === 0 || !queue.inStep || queue.log !== null) return 0;
    const position = queue.nextAvail;
    let most = end - first;
    if (most > queue.size - position) most = queue.size - position;
    if (most > copies.rows - copies.count) most = copies.rows - copies.count;
    const { descriptors } = queue;
    held[0] = first;
    held[1] = first + most;
    held[2] = number;
    held[3] = source;
    held[4] = (queue.availWrap === 1 ? AVAIL : USED) | WRITE;
    held[5] = (queue.availWrap === 1 ? AVAIL | USED : 0) | WRITE;
    held[6] = position * 4;
    held[7] = queue.hiddenAt;
    held[8] = queue.hiddenWord;
    held[9] = copies.count * 3;
    let slot = held[0];
    const behind = held[1];
    const receiver = held[2];
    const sender = held[3];
    const available = held[4];
    const given = held[5];
    let word = held[6];
    let hidden = held[7];
    let shows = held[8];
    let row = held[9]; // in doubles
    const region = memory.last;
    const start = memory.starts[region];
    const stop = memory.ends[region];
    const handle = memory.handles[region];
    let moved = 0;
    for (; slot < behind; slot = (slot + 1) | 0) {
      if (to[slot] !== receiver || froms[slot] !== sender) break;
      const last = descriptors[word | 3];
      if ((last & MATTERS) !== available) break;
      const space = descriptors[word | 2] >>> 0;
      const address = (descriptors[word | 1] >>> 0) * 4294967296 + (descriptors[word] >>> 0);
      const at = ats[slot];
      const length = lengths[slot];
      const needed = (HEADER_BYTES + length) | 0;
      if (space < needed) break;
      if (!(address >= start && address + needed <= stop)) break;
      halves[(at - 2) >> 1] = 1; // num_buffers
      offsets[row] = address - start;
      const cell = row << 1;
      rows[(cell + 2) | 0] = handle;
      rows[(cell + 3) | 0] = (at - HEADER_BYTES) | 0;
      rows[(cell + 4) | 0] = needed;
      row = (row + 3) | 0;
      const used = (last & 0xffff) | given;
      descriptors[word | 2] = needed;
      if (hidden < 0) {
        hidden = word >> 2;
        shows = used;
      } else {
        descriptors[word | 3] = used;
      }
      word = (word + 4) | 0;
      moved = (moved + length) | 0;
    }
    const put = slot - first;
    copies.count += put;
    queue.hiddenAt = hidden;
    queue.hiddenWord = shows;
    queue.movedBytes = moved;
    queue.stepTo(position + put);
    return put;
  };
}
