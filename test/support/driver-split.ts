/**
 * The guest's side of a split virtqueue (virtio 1.3, 2.7). Each descriptor has its own slot; every descriptor, ring entry, index
 * and flag can be written directly.
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

export class SplitQueue extends DriverQueue {
  readonly format = 'split' as const;
  #published = 0;
  #free: number[] = [];
  #cursor = 0;
  #freeCount = 0;

  constructor(memory: GuestMemory, options: QueueOptions) {
    const { size } = options;
    super(memory, options, {
      descriptors: 16 * size,
      available: 6 + 2 * size,
      used: 6 + 8 * size,
    });
    this.reset();
  }

  override reset(): void {
    super.reset();
    this.#published = 0;
    this.#free = Array.from({ length: this.size }, (_, i) => this.size - 1 - i);
    this.#cursor = 0;
    this.#freeCount = this.size;
  }

  override get freeDescriptors(): number {
    return this.#freeCount;
  }

  override get freshBase(): number {
    return 0;
  }

  override get nextBase(): number {
    return this.next;
  }

  override get usedBase(): number {
    return this.usedIndex;
  }

  override get usedCount(): number {
    return this.usedIndex;
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

  override writeEntry(table: number, index: number, fields: DescriptorFields): void {
    this.writeDescriptor(index, fields, table);
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

  // --- offering buffers -------------------------------------------------------------------------

  #take(): number {
    this.#freeCount--;
    if (!this.inOrder) return this.#free.pop()!;
    const descriptor = this.#cursor;
    this.#cursor = (this.#cursor + 1) % this.size;
    return descriptor;
  }

  override add(parts: readonly Part[], options: { indirect?: boolean } = {}): Chain | null {
    const indirect = options.indirect ?? false;
    const needed = indirect ? 1 : parts.length;
    if (needed > this.#freeCount) return null;
    const descriptors = Array.from({ length: needed }, () => this.#take());
    const chain: Chain = {
      head: descriptors[0],
      descriptors,
      slots: descriptors,
      parts: this.place(parts, descriptors, indirect),
      table: indirect ? this.slot(descriptors[0]) : 0,
    };
    if (indirect) {
      chain.parts.forEach(({ address, length, writable }, i) => {
        const last = i === parts.length - 1;
        const flags = (writable ? DESC.write : 0) | (last ? 0 : DESC.next);
        this.writeEntry(chain.table, i, { address, length, flags, next: last ? 0 : i + 1 });
      });
    }
    for (let i = 0; i < needed; i++) this.rewrite(chain, i, {});
    this.writeAvailable(this.next, chain.head);
    this.lend(chain);
    return chain;
  }

  override rewrite(chain: Chain, which: number, fields: Partial<DescriptorFields>): void {
    const { address, length } =
      chain.table === 0
        ? chain.parts[which]
        : { address: chain.table, length: 16 * chain.parts.length };
    this.writeDescriptor(chain.descriptors[which], {
      address,
      length,
      flags: this.honestFlags(chain, which),
      next: chain.descriptors[which + 1] ?? 0,
      ...fields,
    });
  }

  override publish(kick = true): boolean {
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

  // --- taking buffers back ----------------------------------------------------------------------

  override take(): Used | null {
    const index = this.usedIndex;
    const ready = (index - this.taken) & 0xffff;
    if (ready === 0) return null;
    if (ready > this.size) throw new Error(`used index ${index} runs ahead of ${this.taken}`);
    const used = this.inOrder
      ? this.takeInOrder(() => this.usedEntry(this.taken))
      : this.#takeById();
    this.taken = (this.taken + 1) & 0xffff;
    this.wantInterrupt();
    const room = roomOf(used.chain);
    if (used.length > room) throw new Error(`used length ${used.length} of ${room}`);
    if (!this.inOrder) this.#free.push(...used.chain.descriptors);
    this.#freeCount += used.chain.descriptors.length;
    return used;
  }

  #takeById(): Used {
    const { id, length } = this.usedEntry(this.taken);
    return { chain: this.takeById(id), length };
  }

  override wantInterrupt(): void {
    if (this.eventIndex) this.usedEvent = this.taken;
  }
}

/** A queue whose indices and entries are written directly: packed ones have none. */
export function asSplit(queue: DriverQueue): SplitQueue {
  if (!(queue instanceof SplitQueue)) throw new Error('the queue is packed');
  return queue;
}
