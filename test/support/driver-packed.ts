/**
 * The guest's side of a packed virtqueue (virtio 1.3, 2.8). Buffer ids and slots are taken at random places of their pools, so that
 * neither has anything to do with a descriptor's position. Every descriptor and both event areas can be written directly.
 *
 *     descriptor: | u64 address | u32 length | u16 id | u16 flags |      flags: AVAIL bit 7, USED bit 15
 *     event area: | u16 offset (bit 15: wrap) | u16 flags |
 */
import {
  type Chain,
  DESC,
  type DescriptorFields,
  DriverQueue,
  needEvent,
  type Part,
  type QueueOptions,
  roomOf,
  type Used,
} from './driver.ts';
import type { GuestMemory } from './memory.ts';

export const PACKED = { avail: 1 << 7, used: 1 << 15 } as const;
export const EVENT = { enable: 0, disable: 1, descriptor: 2 } as const;

/** A descriptor as it stands in the ring. */
export interface PackedFields {
  address: number | bigint;
  length: number;
  id: number;
  flags: number;
}

interface Pending {
  position: number;
  /** id and flags, as one word. */
  word: number;
}

const baseOf = (position: number, wrap: number) => {
  const half = position | (wrap << 15);
  return (half | (half << 16)) >>> 0;
};

export class PackedQueue extends DriverQueue {
  readonly format = 'packed' as const;
  /** Position of the next descriptor to make available, and its wrap bit. */
  position = 0;
  wrap = 1;
  /** Told where each used descriptor that is taken stands. */
  whenUsed: ((position: number) => void) | null = null;
  /** Position of the next used descriptor. */
  #usedPosition = 0;
  #usedWrap = 1;
  /** Descriptors that are written but for the word that makes them available, in ring order. */
  #pending: Pending[] = [];
  #ids: number[] = [];
  #slots: number[] = [];

  constructor(memory: GuestMemory, options: QueueOptions) {
    super(memory, options, { descriptors: 16 * options.size, available: 4, used: 4 });
    this.reset();
  }

  override reset(): void {
    super.reset();
    this.position = 0;
    this.wrap = 1;
    this.#usedPosition = 0;
    this.#usedWrap = 1;
    this.#pending = [];
    this.#ids = scattered(this.size, 7);
    this.#slots = scattered(this.size, 5);
  }

  override get freeDescriptors(): number {
    return this.#slots.length;
  }

  override get freshBase(): number {
    return baseOf(0, 1);
  }

  override get nextBase(): number {
    return baseOf(this.position, this.wrap);
  }

  override get usedBase(): number {
    const { position, wrap } = this.#scan();
    return baseOf(position, wrap);
  }

  override get usedCount(): number {
    return this.#scan().count;
  }

  /** What the device has given back: how many chains, and where it would go on. */
  #scan(): { count: number; position: number; wrap: number } {
    let position = this.#usedPosition;
    let wrap = this.#usedWrap;
    let first = 0;
    if (this.batchEnd !== null) first = this.#endOfBatch(this.batchEnd.id);
    const order = this.order.slice(first);
    let count = this.taken + first;
    for (;;) {
      const element = this.#usedAt(position, wrap);
      if (element === null) return { count: count & 0xffff, position, wrap };
      const chain = this.named(element.id);
      const batch = this.inOrder ? order.splice(0, order.indexOf(chain) + 1) : [chain];
      count += batch.length;
      position += batch.reduce((sum, one) => sum + one.descriptors.length, 0);
      if (position >= this.size) {
        position -= this.size;
        wrap ^= 1;
      }
    }
  }

  #endOfBatch(id: number): number {
    return this.order.findIndex((chain) => chain.head === id) + 1;
  }

  // --- raw cells --------------------------------------------------------------------------------

  #word(position: number): Int32Array {
    const bytes = this.memory.bytes(this.descriptorsAt + 16 * position + 12, 4);
    return new Int32Array(bytes.buffer, bytes.byteOffset, 1);
  }

  /** Writes a descriptor of the ring as it is given, flags last. */
  writeDescriptor(position: number, fields: PackedFields): void {
    this.#writeBuffer(this.descriptorsAt + 16 * position, fields.address, fields.length);
    Atomics.store(this.#word(position), 0, fields.id | (fields.flags << 16));
  }

  readDescriptor(position: number): PackedFields {
    const bytes = this.memory.bytes(this.descriptorsAt + 16 * position, 16);
    const word = Atomics.load(this.#word(position), 0);
    return {
      address: bytes.readBigUInt64LE(0),
      length: bytes.readUInt32LE(8),
      id: word & 0xffff,
      flags: word >>> 16,
    };
  }

  #writeBuffer(at: number, address: number | bigint, length: number): void {
    const bytes = this.memory.bytes(at, 12);
    bytes.writeBigUInt64LE(BigInt.asUintN(64, BigInt(address)), 0);
    bytes.writeUInt32LE(length >>> 0, 8);
  }

  override writeEntry(table: number, index: number, fields: DescriptorFields): void {
    const at = table + 16 * index;
    this.#writeBuffer(at, fields.address, fields.length);
    this.memory.bytes(at + 12, 2).writeUInt16LE(0); // reserved
    this.memory.bytes(at + 14, 2).writeUInt16LE(fields.flags ?? 0);
  }

  /** The driver event area: when to interrupt us. Offset before flags, as Linux does it. */
  writeEvent(offset: number, wrap: number, flags: number): void {
    Atomics.store(this.memory.cell(this.availableAt), 0, offset | (wrap << 15));
    Atomics.store(this.memory.cell(this.availableAt + 2), 0, flags);
  }

  /** Flags that make a descriptor available at a position that is passed with `wrap`. */
  static available(wrap: number): number {
    return wrap === 1 ? PACKED.avail : PACKED.used;
  }

  // --- offering buffers -------------------------------------------------------------------------

  override add(parts: readonly Part[], options: { indirect?: boolean } = {}): Chain | null {
    const indirect = options.indirect ?? false;
    const needed = indirect ? 1 : parts.length;
    if (needed > this.#slots.length) return null;
    const slots = Array.from({ length: needed }, () => this.#slots.pop()!);
    const chain: Chain = {
      head: this.#ids.pop()!,
      descriptors: [],
      slots,
      parts: this.place(parts, slots, indirect),
      table: indirect ? this.slot(slots[0]) : 0,
    };
    if (indirect) {
      // Entries follow each other: only WRITE counts (2.8.7).
      chain.parts.forEach(({ address, length, writable }, i) => {
        this.writeEntry(chain.table, i, { address, length, flags: writable ? DESC.write : 0 });
      });
    }
    for (let i = 0; i < needed; i++) {
      chain.descriptors.push(this.position);
      this.#pending.push({ position: this.position, word: 0 });
      if (++this.position === this.size) {
        this.position = 0;
        this.wrap ^= 1;
      }
    }
    for (let i = 0; i < needed; i++) this.rewrite(chain, i, {});
    this.lend(chain);
    return chain;
  }

  override rewrite(chain: Chain, which: number, fields: Partial<DescriptorFields>): void {
    const position = chain.descriptors[which];
    const pending = this.#pending.find((one) => one.position === position);
    if (pending === undefined) throw new Error('the chain is published');
    const honest =
      chain.table === 0
        ? chain.parts[which]
        : { address: chain.table, length: 16 * chain.parts.length };
    const at = this.descriptorsAt + 16 * position;
    this.#writeBuffer(at, fields.address ?? honest.address, fields.length ?? honest.length);
    const flags = fields.flags ?? this.honestFlags(chain, which);
    // What lies in front of where we are now was passed with the wrap bit we have.
    const wrap = position < this.position ? this.wrap : this.wrap ^ 1;
    pending.word = chain.head | ((flags | PackedQueue.available(wrap)) << 16);
  }

  /** Everything behind the first descriptor becomes available before it, as the device looks at them in order. */
  override publish(kick = true): boolean {
    const added = this.#pending.length;
    for (let i = added - 1; i >= 0; i--) {
      const { position, word } = this.#pending[i];
      Atomics.store(this.#word(position), 0, word);
    }
    this.#pending = [];
    if (!kick || added === 0) return false;
    if (!this.#isWanted(added) && !this.alwaysKick) return false;
    this.kick();
    return true;
  }

  /** Whether the device wants to know of the last `added` descriptors (its event area, 2.8.10). */
  #isWanted(added: number): boolean {
    const bytes = this.memory.bytes(this.usedAt, 4);
    const area = Atomics.load(new Int32Array(bytes.buffer, bytes.byteOffset, 1), 0);
    const flags = (area >>> 16) & 3;
    if (flags === 3) throw new Error('the device wrote reserved event flags');
    if (flags !== EVENT.descriptor) return flags === EVENT.enable;
    if (!this.eventIndex) throw new Error('the device uses event offsets without EVENT_IDX');
    let offset = area & 0x7fff;
    if (offset >= this.size) throw new Error(`the device wants an event at ${offset}`);
    if (((area >>> 15) & 1) !== this.wrap) offset -= this.size;
    return needEvent(offset, this.position, this.position - added);
  }

  // --- taking buffers back ----------------------------------------------------------------------

  /** The used descriptor at a position, or null. */
  #usedAt(position: number, wrap: number): { id: number; length: number } | null {
    const word = Atomics.load(this.#word(position), 0);
    const flags = word >>> 16;
    const bits = PACKED.avail | PACKED.used;
    if ((flags & bits) !== (wrap === 1 ? bits : 0)) return null;
    // The length counts only with WRITE; the other flags mean nothing here (2.8.6).
    const length =
      (flags & DESC.write) === 0
        ? 0
        : this.memory.bytes(this.descriptorsAt + 16 * position + 8, 4).readUInt32LE(0);
    return { id: word & 0xffff, length };
  }

  override take(): Used | null {
    const element =
      this.batchEnd === null ? this.#usedAt(this.#usedPosition, this.#usedWrap) : this.batchEnd;
    if (element === null) return null;
    if (this.batchEnd === null) this.whenUsed?.(this.#usedPosition);
    const used = this.inOrder
      ? this.takeInOrder(() => element)
      : { chain: this.takeById(element.id), length: element.length };
    const { descriptors, slots, head } = used.chain;
    this.#usedPosition += descriptors.length;
    if (this.#usedPosition >= this.size) {
      this.#usedPosition -= this.size;
      this.#usedWrap ^= 1;
    }
    this.taken = (this.taken + 1) & 0xffff;
    if (this.eventIndex) this.wantInterrupt();
    const room = roomOf(used.chain);
    if (used.length > room) throw new Error(`used length ${used.length} of ${room}`);
    this.#slots.push(...slots);
    this.#ids.push(head);
    return used;
  }

  override wantInterrupt(): void {
    if (this.eventIndex) this.writeEvent(this.#usedPosition, this.#usedWrap, EVENT.descriptor);
    else this.writeEvent(0, 0, EVENT.enable);
  }
}

/** 0..size-1 in an order that is not theirs. */
function scattered(size: number, step: number): number[] {
  const numbers = Array.from({ length: size }, (_, i) => i);
  return numbers.sort((a, b) => ((a * step) % (size + 1)) - ((b * step) % (size + 1)) || a - b);
}

/** A queue whose descriptors are written directly in the packed format. */
export function asPacked(queue: DriverQueue): PackedQueue {
  if (!(queue instanceof PackedQueue)) throw new Error('the queue is split');
  return queue;
}
