/**
 * The guest's side of a split virtqueue (virtio 1.3, 2.7), as strict as Linux when it behaves and as false as wanted: every
 * descriptor, ring entry, index and flag can be written directly.
 */
import { native } from '../../src/native.ts';
import type { GuestMemory } from './memory.ts';
import { FEATURE } from './protocol.ts';

export const DESC = { next: 1, write: 2, indirect: 4 } as const;

export interface DescriptorFields {
  address: number | bigint;
  length: number;
  flags?: number;
  next?: number;
}

/** A buffer of a chain: bytes for the device to read, or room for it to write. */
export type Part = { data: Uint8Array } | { room: number };

export interface PlacedPart {
  address: number;
  length: number;
  writable: boolean;
}

export interface Chain {
  head: number;
  /** Descriptors of the ring's table that it occupies. */
  descriptors: number[];
  parts: PlacedPart[];
}

export interface Used {
  chain: Chain;
  /** As the device reported it. */
  length: number;
}

export interface QueueOptions {
  size: number;
  features: bigint;
  /** Bytes of buffer that each descriptor owns. */
  slotBytes: number;
}

/** vring_need_event of the specification. */
export function needEvent(event: number, next: number, old: number): boolean {
  return ((next - event - 1) & 0xffff) < ((next - old) & 0xffff);
}

export class SplitQueue {
  readonly memory: GuestMemory;
  readonly size: number;
  readonly slotBytes: number;
  readonly descriptorsAt: number;
  readonly availableAt: number;
  readonly usedAt: number;
  readonly slotsAt: number;
  readonly kickDescriptor: number;
  readonly callDescriptor: number;
  readonly errorDescriptor: number;
  features: bigint;
  /** Next available index to publish. */
  next = 0;
  /** Used entries taken so far. */
  taken = 0;
  kicks = 0;
  /** Never suppresses, whatever the device asks. */
  alwaysKick = false;
  #published = 0;
  #free: number[] = [];
  #cursor = 0;
  #freeCount = 0;
  #outstanding = new Map<number, Chain>();
  #order: Chain[] = [];
  #batchEnd: { head: number; length: number } | null = null;

  constructor(memory: GuestMemory, options: QueueOptions) {
    this.memory = memory;
    this.size = options.size;
    this.features = options.features;
    this.slotBytes = options.slotBytes;
    this.descriptorsAt = memory.allocate(16 * this.size);
    this.availableAt = memory.allocate(6 + 2 * this.size);
    this.usedAt = memory.allocate(6 + 8 * this.size);
    this.slotsAt = memory.allocate(this.size * this.slotBytes);
    this.kickDescriptor = native.eventfd();
    this.callDescriptor = native.eventfd();
    this.errorDescriptor = native.eventfd();
    this.reset();
  }

  /** As after a device reset: indices 0, everything free. */
  reset(): void {
    this.memory.bytes(this.descriptorsAt, 16 * this.size).fill(0);
    this.memory.bytes(this.availableAt, 6 + 2 * this.size).fill(0);
    this.memory.bytes(this.usedAt, 6 + 8 * this.size).fill(0);
    this.next = 0;
    this.taken = 0;
    this.#published = 0;
    this.#free = Array.from({ length: this.size }, (_, i) => this.size - 1 - i);
    this.#cursor = 0;
    this.#freeCount = this.size;
    this.#outstanding.clear();
    this.#order = [];
    this.#batchEnd = null;
  }

  get inOrder(): boolean {
    return (this.features & FEATURE.IN_ORDER) !== 0n;
  }

  get eventIndex(): boolean {
    return (this.features & FEATURE.EVENT_IDX) !== 0n;
  }

  get freeDescriptors(): number {
    return this.#freeCount;
  }

  get outstanding(): number {
    return this.#outstanding.size;
  }

  // --- raw cells --------------------------------------------------------------------------------

  /** Writes a descriptor into the ring's table, or into a table anywhere else. */
  writeDescriptor(index: number, fields: DescriptorFields, table = this.descriptorsAt): void {
    const bytes = this.memory.bytes(table + 16 * index, 16);
    bytes.writeBigUInt64LE(BigInt.asUintN(64, BigInt(fields.address)), 0);
    bytes.writeUInt32LE(fields.length >>> 0, 8);
    bytes.writeUInt16LE(fields.flags ?? 0, 12);
    bytes.writeUInt16LE(fields.next ?? 0, 14);
  }

  writeAvailable(slot: number, head: number): void {
    this.memory.bytes(this.availableAt + 4 + 2 * (slot % this.size), 2).writeUInt16LE(head, 0);
  }

  get availableIndex(): number {
    return Atomics.load(this.memory.cell(this.availableAt + 2), 0);
  }

  set availableIndex(value: number) {
    Atomics.store(this.memory.cell(this.availableAt + 2), 0, value & 0xffff);
  }

  set availableFlags(value: number) {
    Atomics.store(this.memory.cell(this.availableAt), 0, value);
  }

  set usedEvent(value: number) {
    Atomics.store(this.memory.cell(this.availableAt + 4 + 2 * this.size), 0, value & 0xffff);
  }

  get usedFlags(): number {
    return Atomics.load(this.memory.cell(this.usedAt), 0);
  }

  get usedIndex(): number {
    return Atomics.load(this.memory.cell(this.usedAt + 2), 0);
  }

  get availableEvent(): number {
    return Atomics.load(this.memory.cell(this.usedAt + 4 + 8 * this.size), 0);
  }

  usedEntry(slot: number): { id: number; length: number } {
    const bytes = this.memory.bytes(this.usedAt + 4 + 8 * (slot % this.size), 8);
    return { id: bytes.readUInt32LE(0), length: bytes.readUInt32LE(4) };
  }

  slot(descriptor: number): number {
    return this.slotsAt + descriptor * this.slotBytes;
  }

  // --- offering buffers -------------------------------------------------------------------------

  #take(): number {
    this.#freeCount--;
    if (!this.inOrder) return this.#free.pop()!;
    const descriptor = this.#cursor;
    this.#cursor = (this.#cursor + 1) % this.size;
    return descriptor;
  }

  /**
   * Puts a chain into the table and its head into the available ring, without publishing it. Null when there are not enough
   * free descriptors. With `indirect` the table lies at the start of the head's slot, the parts behind it.
   */
  add(parts: readonly Part[], options: { indirect?: boolean } = {}): Chain | null {
    const needed = options.indirect ? 1 : parts.length;
    if (needed > this.#freeCount) return null;
    const descriptors = Array.from({ length: needed }, () => this.#take());
    const placed: PlacedPart[] = [];
    let at = this.slot(descriptors[0]) + (options.indirect ? 16 * parts.length : 0);
    for (let i = 0; i < parts.length; i++) {
      const part = parts[i];
      const length = 'data' in part ? part.data.length : part.room;
      const slot = options.indirect ? descriptors[0] : descriptors[i];
      if (!options.indirect) at = this.slot(slot);
      if (at + length > this.slot(slot) + this.slotBytes) throw new Error('part exceeds its slot');
      if ('data' in part && length > 0) this.memory.bytes(at, length).set(part.data);
      placed.push({ address: at, length, writable: 'room' in part });
      at += length;
    }
    this.#describe(descriptors, placed, options.indirect ?? false);
    const chain: Chain = { head: descriptors[0], descriptors, parts: placed };
    this.#outstanding.set(chain.head, chain);
    this.#order.push(chain);
    this.writeAvailable(this.next, chain.head);
    this.next = (this.next + 1) & 0xffff;
    return chain;
  }

  #describe(descriptors: number[], parts: PlacedPart[], indirect: boolean): void {
    const table = indirect ? this.slot(descriptors[0]) : this.descriptorsAt;
    for (let i = 0; i < parts.length; i++) {
      const last = i === parts.length - 1;
      const next = last ? 0 : indirect ? i + 1 : descriptors[i + 1];
      const flags = (parts[i].writable ? DESC.write : 0) | (last ? 0 : DESC.next);
      const { address, length } = parts[i];
      this.writeDescriptor(indirect ? i : descriptors[i], { address, length, flags, next }, table);
    }
    if (indirect) {
      const fields = { address: table, length: 16 * parts.length, flags: DESC.indirect };
      this.writeDescriptor(descriptors[0], fields);
    }
  }

  /** Makes everything added visible to the device and kicks it if it wants to know. True when kicked. */
  publish(kick = true): boolean {
    const old = this.#published;
    this.availableIndex = this.next;
    this.#published = this.next;
    if (!kick || old === this.next) return false;
    const wanted = this.eventIndex
      ? needEvent(this.availableEvent, this.next, old)
      : (this.usedFlags & 1) === 0;
    if (!wanted && !this.alwaysKick) return false;
    this.kick();
    return true;
  }

  kick(): void {
    this.kicks++;
    native.signal(this.kickDescriptor);
  }

  // --- taking buffers back ----------------------------------------------------------------------

  /**
   * Takes one chain that the device has used, or null. Throws when the device breaks the rules: an id that isn't outstanding,
   * more bytes than the chain has room for, an index that runs ahead.
   */
  take(): Used | null {
    const index = this.usedIndex;
    const ready = (index - this.taken) & 0xffff;
    if (ready === 0) return null;
    if (ready > this.size) throw new Error(`used index ${index} runs ahead of ${this.taken}`);
    const used = this.inOrder ? this.#takeInOrder() : this.#takeById();
    this.taken = (this.taken + 1) & 0xffff;
    if (this.eventIndex) this.usedEvent = this.taken;
    const room = used.chain.parts.reduce((sum, part) => sum + (part.writable ? part.length : 0), 0);
    if (used.length > room) throw new Error(`used length ${used.length} of ${room}`);
    if (!this.inOrder) this.#free.push(...used.chain.descriptors);
    this.#freeCount += used.chain.descriptors.length;
    return used;
  }

  #takeById(): Used {
    const { id, length } = this.usedEntry(this.taken);
    const chain = this.#outstanding.get(id);
    if (chain === undefined) throw new Error(`id ${id} is not a head!`);
    this.#outstanding.delete(id);
    this.#order.splice(this.#order.indexOf(chain), 1);
    return { chain, length };
  }

  /**
   * With IN_ORDER one entry may stand for a batch: it names the last chain of the batch, and the index moves by the whole
   * (2.7.9). The chains before it count as used with all their room.
   */
  #takeInOrder(): Used {
    if (this.#batchEnd === null) {
      const { id, length } = this.usedEntry(this.taken);
      if (!this.#outstanding.has(id)) throw new Error(`id ${id} is not a head!`);
      this.#batchEnd = { head: id, length };
    }
    const chain = this.#order.shift()!;
    this.#outstanding.delete(chain.head);
    if (chain.head === this.#batchEnd.head) {
      const { length } = this.#batchEnd;
      this.#batchEnd = null;
      return { chain, length };
    }
    return { chain, length: chain.parts.reduce((n, p) => n + (p.writable ? p.length : 0), 0) };
  }

  /** Bytes that the device wrote into a used chain. */
  written(used: Used): Buffer {
    const pieces: Buffer[] = [];
    let left = used.length;
    for (const part of used.chain.parts) {
      if (!part.writable || left <= 0) continue;
      pieces.push(this.memory.bytes(part.address, Math.min(left, part.length)));
      left -= part.length;
    }
    return Buffer.concat(pieces);
  }

  /** Interrupts since the last look. */
  interrupts(): number {
    return native.drain(this.callDescriptor);
  }

  /** Times the device signalled its error descriptor since the last look. */
  errors(): number {
    return native.drain(this.errorDescriptor);
  }

  close(): void {
    native.closeDescriptor(this.kickDescriptor);
    native.closeDescriptor(this.callDescriptor);
    native.closeDescriptor(this.errorDescriptor);
  }
}
