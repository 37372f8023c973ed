/**
 * Rings whose contents never change: a driver that sends the same datagram again and again, and one that takes whatever comes, need only
 * move an index. So one polling process plays several VMs, floods included, and costs the measurement next to nothing.
 */
import { native } from '../../src/native.ts';
import type { Vm } from '../../test/support/vm.ts';

const HEADER = 12;
const NEXT = 1;

/** The transmit ring: each entry names the same datagram. */
export class Sender {
  /** Datagrams put into the ring so far. */
  offered = 0;
  readonly size: number;
  readonly #vm: Vm;
  readonly #available: Uint16Array;
  readonly #used: Uint16Array;
  readonly #availEvent: Uint16Array;
  readonly #usedFlags: Uint16Array;
  readonly #kick: number;
  readonly #eventIndex: boolean;

  /** Of a VM with split rings that has sent nothing yet. */
  constructor(vm: Vm) {
    const { memory } = vm;
    const queue = vm.transmitQueue();
    memory.bytes(queue.availableAt + 4, 2 * queue.size).fill(0); // always the chain at 0
    this.size = queue.size;
    this.#vm = vm;
    this.#available = memory.cell(queue.availableAt + 2);
    this.#used = memory.cell(queue.usedAt + 2);
    this.#availEvent = memory.cell(queue.usedAt + 4 + 8 * queue.size);
    this.#usedFlags = memory.cell(queue.usedAt);
    this.#kick = queue.kickDescriptor;
    this.#eventIndex = queue.eventIndex;
  }

  /** What is sent from now on, in how many descriptors. Nothing may be under way. */
  set(frame: Uint8Array, descriptors = 1): void {
    const { memory } = this.#vm;
    const queue = this.#vm.transmitQueue();
    const bytes = Buffer.concat([Buffer.alloc(HEADER), frame]);
    memory.bytes(queue.slotsAt, bytes.length).set(bytes);
    const table = memory.bytes(queue.descriptorsAt, 16 * queue.size);
    for (let index = 0; index < descriptors; index++) {
      const last = index === descriptors - 1;
      table.writeBigUInt64LE(BigInt(queue.slotsAt + index), 16 * index);
      table.writeUInt32LE(last ? bytes.length - index : 1, 16 * index + 8);
      table.writeUInt16LE(last ? 0 : NEXT, 16 * index + 12);
      table.writeUInt16LE(last ? 0 : index + 1, 16 * index + 14);
    }
  }

  /** Entries that may be offered now. */
  get room(): number {
    return this.size - ((this.offered - Atomics.load(this.#used, 0)) & 0xffff);
  }

  /** Offers `count` datagrams, at most `room`, and kicks exactly when asked to. */
  offer(count: number): void {
    if (count <= 0) return;
    const old = this.offered & 0xffff;
    this.offered += count;
    const next = this.offered & 0xffff;
    Atomics.store(this.#available, 0, next);
    const wanted = this.#eventIndex
      ? ((next - Atomics.load(this.#availEvent, 0) - 1) & 0xffff) < ((next - old) & 0xffff)
      : (Atomics.load(this.#usedFlags, 0) & 1) === 0;
    if (wanted) this.kick();
  }

  kick(): void {
    native.signal(this.#kick);
  }
}

/** The receive ring: each buffer is offered again as soon as it is used. */
export class Taker {
  /** Datagrams taken so far; each lies in one buffer. */
  taken = 0;
  readonly #size: number;
  readonly #kick: number;
  readonly #available: Uint16Array;
  readonly #used: Uint16Array;

  constructor(vm: Vm) {
    const { memory } = vm;
    const queue = vm.receiveQueue();
    this.#size = queue.size;
    this.#kick = queue.kickDescriptor;
    this.#available = memory.cell(queue.availableAt + 2);
    this.#used = memory.cell(queue.usedAt + 2);
    // Polls: wants no interrupts.
    memory.cell(queue.availableAt + 4 + 2 * queue.size)[0] = 0x8000;
  }

  /** Takes what there is; how much. The base gives buffers back in the order they were offered in, so the ring's entries stay as they are. */
  take(): number {
    const count = (Atomics.load(this.#used, 0) - this.taken) & 0xffff;
    if (count === 0) return 0;
    this.taken += count;
    Atomics.store(this.#available, 0, (this.taken + this.#size) & 0xffff);
    return count;
  }

  kick(): void {
    native.signal(this.#kick);
  }
}
