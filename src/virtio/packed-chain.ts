/**
 * One chain of a packed ring, walked and checked (virtio 1.3 §2.8.6, §2.8.7). A chain is a run of descriptors joined by NEXT; its buffer
 * id stands in the last one. All descriptors are copied out first, each word read once, so that even a malformed chain
 * can be given back as a whole: we know its id and how many descriptors it had.
 */
import { CELL } from '../counters.ts';
import { type Chain, DESC_F_INDIRECT, DESC_F_NEXT, DESC_F_WRITE } from './chain.ts';
import type { GuestMemory } from './guest-memory.ts';
import { PackedQueue } from './packed-queue.ts';

const CHAIN_BAD_DIRECTION = CELL.chainBadDirection;
const CHAIN_BAD_INDIRECT = CELL.chainBadIndirect;
const CHAIN_BAD_ORDER = CELL.chainBadOrder;

const MAX_CHAIN = 4096;

/** `PackedChain.take`: nothing (more) is available. */
export const NONE = -2;
/** `PackedChain.take`: the chain never ends; `queue.broken` says so. */
export const ENDLESS = -1;

export class PackedChain {
  /** Of the chain taken last. */
  id = 0;
  count = 0;
  private readonly words = new Int32Array(MAX_CHAIN * 4);

  /**
   * Takes the chain at the queue's position and moves on past it. Adds its buffers to `chain`. 0, NONE, ENDLESS,
   * or the counter cell that says what is wrong with it.
   */
  take(queue: PackedQueue, writable: boolean, chain: Chain, memory: GuestMemory): number {
    const { descriptors, size } = queue;
    let position = queue.nextAvail;
    let wrap = queue.availWrap;
    let count = 0;
    for (;;) {
      const word = position * 4;
      const last = Atomics.load(descriptors, word + 3);
      if (!PackedQueue.isAvailable(last, wrap)) {
        if (count === 0) return NONE;
        queue.broken = 'a chain goes on with a descriptor that is not available';
        return ENDLESS;
      }
      if (count === MAX_CHAIN || count === size) {
        queue.broken = 'a chain is longer than the ring';
        return ENDLESS;
      }
      const copy = count * 4;
      this.words[copy] = descriptors[word];
      this.words[copy + 1] = descriptors[word + 1];
      this.words[copy + 2] = descriptors[word + 2];
      this.words[copy + 3] = last;
      count++;
      if (++position === size) {
        position = 0;
        wrap ^= 1;
      }
      if (((last >>> 16) & DESC_F_NEXT) === 0) {
        this.id = last & 0xffff;
        break;
      }
    }
    this.count = count;
    queue.advance(count);
    chain.steps += count;
    return this.check(queue, writable, chain, memory);
  }

  private check(queue: PackedQueue, writable: boolean, chain: Chain, memory: GuestMemory): number {
    let seenWritable = false;
    let wrong = false;
    for (let index = 0; index < this.count; index++) {
      const word = index * 4;
      const flags = this.words[word + 3] >>> 16;
      const address = (this.words[word + 1] >>> 0) * 4294967296 + (this.words[word] >>> 0);
      const length = this.words[word + 2] >>> 0;
      if ((flags & DESC_F_INDIRECT) !== 0) {
        // §2.8.8: negotiated, alone, a whole number of entries; their order is the chain.
        if (!queue.indirect || this.count !== 1) return CHAIN_BAD_INDIRECT;
        return this.checkTable(address, length, queue.size, writable, chain, memory);
      }
      const isWritable = (flags & DESC_F_WRITE) !== 0;
      if (!isWritable && seenWritable) return CHAIN_BAD_ORDER;
      seenWritable ||= isWritable;
      wrong ||= isWritable !== writable;
      if (length === 0 || wrong) continue;
      const fault = chain.addBuffer(address, length, memory);
      if (fault !== 0) return fault;
    }
    return wrong ? CHAIN_BAD_DIRECTION : 0;
  }

  private checkTable(
    address: number,
    length: number,
    size: number,
    writable: boolean,
    chain: Chain,
    memory: GuestMemory,
  ): number {
    const entries = length / 16;
    if (length === 0 || length % 16 !== 0 || entries > MAX_CHAIN || entries > size)
      return CHAIN_BAD_INDIRECT;
    chain.steps += entries; // copied, whatever becomes of them
    const fault = chain.fetchTable(address, length, memory);
    if (fault !== 0) return fault;
    const words = chain.scratch;
    let seenWritable = false;
    let wrong = false;
    for (let index = 0; index < entries; index++) {
      const word = index * 4;
      const flags = words[word + 3] >>> 16;
      if ((flags & DESC_F_INDIRECT) !== 0) return CHAIN_BAD_INDIRECT;
      // DPDK's driver marks the first entry of an output table, the virtio-net header, writable (vring_desc_init_indirect_packed); its
      // table has more of them, and what is meant shows in the next.
      const isWritable = (flags & DESC_F_WRITE) !== 0 && (writable || index > 0 || entries === 1);
      if (!isWritable && seenWritable) return CHAIN_BAD_ORDER;
      seenWritable ||= isWritable;
      wrong ||= isWritable !== writable;
      const bytes = words[word + 2] >>> 0;
      if (bytes === 0 || wrong) continue;
      const at = (words[word + 1] >>> 0) * 4294967296 + (words[word] >>> 0);
      const outcome = chain.addBuffer(at, bytes, memory);
      if (outcome !== 0) return outcome;
    }
    return wrong ? CHAIN_BAD_DIRECTION : 0;
  }
}
