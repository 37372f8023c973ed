/**
 * The guest's side of a virtqueue, as strict as Linux when it behaves and as false as wanted: what both formats have in common. Each
 * queue owns its buffers, one slot for each descriptor of the ring, and its three eventfds; the ring itself is in `driver-split.ts`
 * (virtio 1.3, 2.7) and `driver-packed.ts` (2.8).
 */
import { native } from '../../src/native.ts';
import type { GuestMemory } from './memory.ts';
import { FEATURE } from './protocol.ts';

export const DESC = { next: 1, write: 2, indirect: 4 } as const;

export interface DescriptorFields {
  address: number | bigint;
  length: number;
  flags?: number;
  /** Of a split ring; packed ones have none. */
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
  /** What the device names it by: its first descriptor (split), its buffer id (packed). */
  head: number;
  /** Descriptors of the ring that it occupies, in its order. */
  descriptors: number[];
  /** Those of the queue's slots that hold its parts. */
  slots: number[];
  parts: PlacedPart[];
  /** Address of its indirect table; 0: none. */
  table: number;
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

/** Bytes of the three parts of a ring: descriptors, and what SET_VRING_ADDR calls available and used. */
export interface RingBytes {
  descriptors: number;
  available: number;
  used: number;
}

/** vring_need_event of the specification. */
export function needEvent(event: number, next: number, old: number): boolean {
  return ((next - event - 1) & 0xffff) < ((next - old) & 0xffff);
}

export abstract class DriverQueue {
  abstract readonly format: 'split' | 'packed';
  readonly memory: GuestMemory;
  readonly size: number;
  readonly slotBytes: number;
  readonly ringBytes: RingBytes;
  readonly descriptorsAt: number;
  /** The part that the driver writes: available ring, or driver event area. */
  readonly availableAt: number;
  /** The part that the device writes: used ring, or device event area. */
  readonly usedAt: number;
  readonly slotsAt: number;
  readonly kickDescriptor: number;
  readonly callDescriptor: number;
  readonly errorDescriptor: number;
  features: bigint;
  /** Chains added so far, in 16 bits: of a split ring the next available index. */
  next = 0;
  /** Chains taken back so far, in 16 bits. */
  taken = 0;
  kicks = 0;
  /** Never suppresses, whatever the device asks. */
  alwaysKick = false;
  /** Chains that the device has, oldest first. */
  protected order: Chain[] = [];
  protected readonly byName = new Map<number, Chain>();
  /** In order: what the device said of the batch that is being taken. */
  protected batchEnd: { id: number; length: number } | null = null;

  constructor(memory: GuestMemory, options: QueueOptions, ringBytes: RingBytes) {
    this.memory = memory;
    this.size = options.size;
    this.features = options.features;
    this.slotBytes = options.slotBytes;
    this.ringBytes = ringBytes;
    this.descriptorsAt = memory.allocate(ringBytes.descriptors);
    this.availableAt = memory.allocate(ringBytes.available);
    this.usedAt = memory.allocate(ringBytes.used);
    this.slotsAt = memory.allocate(this.size * this.slotBytes);
    this.kickDescriptor = native.eventfd();
    this.callDescriptor = native.eventfd();
    this.errorDescriptor = native.eventfd();
  }

  /** As after a device reset: indices at their start, everything free. */
  reset(): void {
    this.memory.bytes(this.descriptorsAt, this.ringBytes.descriptors).fill(0);
    this.memory.bytes(this.availableAt, this.ringBytes.available).fill(0);
    this.memory.bytes(this.usedAt, this.ringBytes.used).fill(0);
    this.next = 0;
    this.taken = 0;
    this.order = [];
    this.byName.clear();
    this.batchEnd = null;
  }

  get inOrder(): boolean {
    return (this.features & FEATURE.IN_ORDER) !== 0n;
  }

  get eventIndex(): boolean {
    return (this.features & FEATURE.EVENT_IDX) !== 0n;
  }

  get outstanding(): number {
    return this.byName.size;
  }

  abstract get freeDescriptors(): number;

  /** SET_VRING_BASE of a ring that was never used. */
  abstract get freshBase(): number;

  /** What GET_VRING_BASE answers when the device has taken and given back all that was published. */
  abstract get nextBase(): number;

  /** SET_VRING_BASE behind what the device has given back: where a ring goes on whose device was lost. */
  abstract get usedBase(): number;

  /** Chains that the device has given back since the reset, in 16 bits: of a split ring the used index. */
  abstract get usedCount(): number;

  slot(index: number): number {
    return this.slotsAt + index * this.slotBytes;
  }

  // --- offering buffers -------------------------------------------------------------------------

  /**
   * Puts a chain into the ring without publishing it. Null when there are not enough free descriptors. With `indirect` the
   * table lies at the start of the first slot, the parts behind it.
   */
  abstract add(parts: readonly Part[], options?: { indirect?: boolean }): Chain | null;

  /** Makes everything added visible to the device and kicks it if it wants to know. True when kicked. */
  abstract publish(kick?: boolean): boolean;

  /** Overwrites fields of the `which`th descriptor of a chain that is not published yet. What isn't given stays honest. */
  abstract rewrite(chain: Chain, which: number, fields: Partial<DescriptorFields>): void;

  /** Writes an entry of an indirect table. */
  abstract writeEntry(table: number, index: number, fields: DescriptorFields): void;

  /** Copies the parts into their slots. */
  protected place(
    parts: readonly Part[],
    slots: readonly number[],
    indirect: boolean,
  ): PlacedPart[] {
    const placed: PlacedPart[] = [];
    let at = this.slot(slots[0]) + (indirect ? 16 * parts.length : 0);
    for (let i = 0; i < parts.length; i++) {
      const part = parts[i];
      const length = 'data' in part ? part.data.length : part.room;
      const slot = indirect ? slots[0] : slots[i];
      if (!indirect) at = this.slot(slot);
      if (at + length > this.slot(slot) + this.slotBytes) throw new Error('part exceeds its slot');
      if ('data' in part && length > 0) this.memory.bytes(at, length).set(part.data);
      placed.push({ address: at, length, writable: 'room' in part });
      at += length;
    }
    return placed;
  }

  protected lend(chain: Chain): void {
    this.byName.set(chain.head, chain);
    this.order.push(chain);
    this.next = (this.next + 1) & 0xffff;
  }

  /** Flags of a part that were honest. */
  protected honestFlags(chain: Chain, which: number): number {
    if (chain.table !== 0) return DESC.indirect;
    const last = which === chain.descriptors.length - 1;
    return (chain.parts[which].writable ? DESC.write : 0) | (last ? 0 : DESC.next);
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
  abstract take(): Used | null;

  /** Asks to be interrupted when the next chain comes back. */
  abstract wantInterrupt(): void;

  /** The chain that a used element names, no longer lent. */
  protected takeById(id: number): Chain {
    const chain = this.named(id);
    this.byName.delete(id);
    this.order.splice(this.order.indexOf(chain), 1);
    return chain;
  }

  protected named(id: number): Chain {
    const chain = this.byName.get(id);
    if (chain === undefined) throw new Error(`id ${id} is not a head!`);
    return chain;
  }

  /**
   * With IN_ORDER one used element may stand for a batch: it names the last chain of it (2.7.9, 2.8.9). `element` reads it when
   * the batch before has been taken. The chains in front of the last one count as used with all their room.
   */
  protected takeInOrder(element: () => { id: number; length: number }): Used {
    if (this.batchEnd === null) {
      const end = element();
      this.named(end.id);
      this.batchEnd = end;
    }
    const chain = this.order.shift()!;
    this.byName.delete(chain.head);
    if (chain.head !== this.batchEnd.id) return { chain, length: roomOf(chain) };
    const { length } = this.batchEnd;
    this.batchEnd = null;
    return { chain, length };
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

/** Bytes that a device may write into a chain. */
export function roomOf(chain: Chain): number {
  return chain.parts.reduce((sum, part) => sum + (part.writable ? part.length : 0), 0);
}
