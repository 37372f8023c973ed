/**
 * One descriptor chain, walked and checked (virtio 1.3 §2.7.5): what a queue reads in the slow path, when a chain is
 * more than one direct descriptor.
 *
 * The driver may rewrite descriptors while we read them. Each descriptor's words are loaded once into locals, checked there
 * and used from there; an indirect table is first copied into the arena's scratch space by the addon and read from the copy.
 * The walk takes at most as many steps as the table has entries: a loop ends there.
 */
import { CELL } from '../counters.ts';
import type { CopyList } from '../storage/copy-list.ts';
import type { DirtyLog } from './dirty-log.ts';
import type { GuestMemory } from './guest-memory.ts';

const CHAIN_BAD_ADDRESS = CELL.chainBadAddress;
const CHAIN_BAD_DIRECTION = CELL.chainBadDirection;
const CHAIN_BAD_INDIRECT = CELL.chainBadIndirect;
const CHAIN_BAD_NEXT = CELL.chainBadNext;
const CHAIN_BAD_ORDER = CELL.chainBadOrder;
const CHAIN_LOOP = CELL.chainLoop;
const OVERSIZE = CELL.oversize;

export const DESC_F_NEXT = 1;
export const DESC_F_WRITE = 2;
export const DESC_F_INDIRECT = 4;

/** Buffers of one chain: 64 KiB in one-byte buffers would be more, nobody legitimate needs more than this. */
const MAX_BUFFERS = 4096;
/** Entries of an indirect table. */
const MAX_TABLE = 4096;

export class Chain {
  /** The chain's buffers in order, each wholly inside one region. */
  readonly region = new Int32Array(MAX_BUFFERS);
  readonly offset = new Float64Array(MAX_BUFFERS);
  readonly length = new Int32Array(MAX_BUFFERS);
  /** Guest-physical address of each buffer, for the dirty log. */
  readonly address = new Float64Array(MAX_BUFFERS);
  /** How many buffers those are. */
  buffers = 0;
  /** Bytes of all buffers. */
  total = 0;
  /** Descriptors seen: what the chain cost us. */
  steps = 0;

  private readonly copies: CopyList;
  /** Where in the arena an indirect table is copied to, as words. */
  readonly scratch: Int32Array;
  private readonly scratchAt: number;

  /** `scratchAt`: MAX_TABLE * 16 bytes of the arena that nothing else uses. */
  constructor(copies: CopyList, arena: ArrayBuffer, scratchAt: number) {
    this.copies = copies;
    this.scratchAt = scratchAt;
    this.scratch = new Int32Array(arena, scratchAt, MAX_TABLE * 4);
  }

  static readonly scratchBytes = MAX_TABLE * 16;

  /** Forgets what was walked before. */
  begin(): void {
    this.buffers = 0;
    this.total = 0;
    this.steps = 0;
  }

  /** Adds the rows that copy the first `bytes` bytes of the buffers from or to byte `arena` of the arena. */
  addCopies(arena: number, bytes: number): void {
    const { buffers, copies, length, offset, region } = this;
    let left = bytes;
    let at = arena;
    for (let buffer = 0; buffer < buffers && left > 0; ) {
      const first = buffer;
      let part = length[first];
      // Buffers that lie one behind the other are one copy.
      while (
        ++buffer < buffers &&
        part < left &&
        region[buffer] === region[first] &&
        offset[buffer] === offset[first] + part
      )
        part += length[buffer];
      if (part > left) part = left;
      if (copies.count >= copies.rows) copies.flush();
      copies.add(region[first], offset[first], at, part);
      at += part;
      left -= part;
    }
  }

  /**
   * Adds the rows that fill the buffers with `bytes` bytes from `arena`. While a migration logs what is written, they are carried out before
   * the pages are marked: a page that was marked, read by the migration and then written would arrive with old bytes.
   */
  fill(arena: number, bytes: number, log: DirtyLog | null): void {
    this.addCopies(arena, bytes);
    if (log === null) return;
    this.copies.deliver();
    this.mark(log, bytes);
  }

  /** Marks the first `bytes` bytes of the buffers as written. */
  private mark(log: DirtyLog, bytes: number): void {
    let left = bytes;
    for (let buffer = 0; buffer < this.buffers && left > 0; buffer++) {
      const part = Math.min(left, this.length[buffer]);
      log.mark(this.address[buffer], part);
      left -= part;
    }
  }

  /**
   * Walks the chain that starts at `head` of a table of `size` descriptors, and adds its buffers to those that are here already. `writable`: the
   * direction that all of them must have; `indirectAllowed`: INDIRECT_DESC was negotiated. 0, or the counter cell that says what is wrong with it.
   */
  walk(
    table: Int32Array,
    size: number,
    head: number,
    writable: boolean,
    indirectAllowed: boolean,
    memory: GuestMemory,
  ): number {
    let words = table;
    let entries = size;
    let limit = size; // descriptors this chain may still have: longer is a loop
    let index = head;
    let indirect = false;
    let seenWritable = false;
    let wrongDirection = false;
    for (;;) {
      if (index >= entries) return CHAIN_BAD_NEXT;
      if (limit-- === 0) return CHAIN_LOOP;
      if (!indirect) this.steps++;
      const word = index * 4;
      const low = words[word] >>> 0;
      const high = words[word + 1] >>> 0;
      const length = words[word + 2] >>> 0;
      const flagsAndNext = words[word + 3]; // one load: the guest cannot change one of the two
      const flags = flagsAndNext & 0xffff;
      const next = flagsAndNext >>> 16;
      const address = high * 4294967296 + low;
      if (flags & DESC_F_INDIRECT) {
        // §2.7.5.3: negotiated, not nested, not followed by another, a whole number of entries.
        if (!indirectAllowed || indirect || flags & DESC_F_NEXT) return CHAIN_BAD_INDIRECT;
        if (length === 0 || length % 16 !== 0) return CHAIN_BAD_INDIRECT;
        entries = length / 16;
        if (entries > MAX_TABLE || entries > size) return CHAIN_BAD_INDIRECT;
        this.steps += entries; // all of them are copied, however few are used
        const fault = this.fetchTable(address, length, memory);
        if (fault !== 0) return fault;
        words = this.scratch;
        limit++; // the descriptor that points to a table is no part of the chain, which may be as long as the queue (§2.7.5.3.1)
        indirect = true;
        index = 0;
        continue;
      }
      // §2.7.4.2: device-readable first, then device-writable; and each queue of a net device has one direction only.
      const isWritable = (flags & DESC_F_WRITE) !== 0;
      if (!isWritable && seenWritable) return CHAIN_BAD_ORDER;
      seenWritable ||= isWritable;
      wrongDirection ||= isWritable !== writable;
      if (length !== 0 && !wrongDirection) {
        const fault = this.addBuffer(address, length, memory);
        if (fault !== 0) return fault;
      }
      if ((flags & DESC_F_NEXT) === 0) return wrongDirection ? CHAIN_BAD_DIRECTION : 0;
      index = next;
    }
  }

  /** Adds one buffer, split where it crosses from one region into the next. */
  addBuffer(address: number, length: number, memory: GuestMemory): number {
    let at = address;
    let left = length;
    while (left > 0) {
      const index = memory.holding(at);
      if (index < 0) return CHAIN_BAD_ADDRESS;
      const part = Math.min(left, memory.ends[index] - at);
      if (this.buffers === MAX_BUFFERS) return OVERSIZE;
      const buffer = this.buffers++;
      this.region[buffer] = memory.handles[index];
      this.offset[buffer] = at - memory.starts[index];
      this.length[buffer] = part;
      this.address[buffer] = at;
      this.total += part; // at most 4096 * 2^32: exact
      if (part > 0x7fffffff) return OVERSIZE;
      at += part;
      left -= part;
    }
    return 0;
  }

  /** Copies an indirect table into scratch, once; the copy is what gets checked and used. */
  fetchTable(address: number, length: number, memory: GuestMemory): number {
    let at = address;
    let left = length;
    let to = this.scratchAt;
    while (left > 0) {
      const index = memory.holding(at);
      if (index < 0) return CHAIN_BAD_INDIRECT;
      const part = Math.min(left, memory.ends[index] - at);
      this.copies.fetch(memory.handles[index], at - memory.starts[index], to, part);
      at += part;
      left -= part;
      to += part;
    }
    return 0;
  }
}
