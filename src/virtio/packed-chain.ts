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
    return this.addBuffers(this.words, count, false, queue, writable, chain, memory);
  }

  /** Checks `count` descriptors, which are a whole chain, and adds their buffers. `isTable`: an indirect table's, in their order. */
  private addBuffers(
    words: Int32Array,
    count: number,
    isTable: boolean,
    queue: PackedQueue,
    writable: boolean,
    chain: Chain,
    memory: GuestMemory,
  ): number {
    let seenWritable = false;
    let wrong = false;
    for (let index = 0; index < count; index++) {
      const word = index * 4;
      const flags = words[word + 3] >>> 16;
      const address = (words[word + 1] >>> 0) * 4294967296 + (words[word] >>> 0);
      const length = words[word + 2] >>> 0;
      if ((flags & DESC_F_INDIRECT) !== 0) {
        // §2.8.8: negotiated, alone, not nested.
        if (isTable || !queue.indirect || count !== 1) return CHAIN_BAD_INDIRECT;
        return this.addTable(address, length, queue, writable, chain, memory);
      }
      // DPDK's driver marks the first entry of an output table, the virtio-net header, writable (vring_desc_init_indirect_packed); its
      // table has more of them, and what is meant shows in the next.
      const mismarked = isTable && !writable && index === 0 && count > 1;
      const isWritable = (flags & DESC_F_WRITE) !== 0 && !mismarked;
      if (!isWritable && seenWritable) return CHAIN_BAD_ORDER;
      seenWritable ||= isWritable;
      wrong ||= isWritable !== writable;
      if (length === 0 || wrong) continue;
      const fault = chain.addBuffer(address, length, memory);
      if (fault !== 0) return fault;
    }
    return wrong ? CHAIN_BAD_DIRECTION : 0;
  }

  private addTable(
    address: number,
    length: number,
    queue: PackedQueue,
    writable: boolean,
    chain: Chain,
    memory: GuestMemory,
  ): number {
    const entries = length / 16;
    if (length === 0 || length % 16 !== 0 || entries > MAX_CHAIN || entries > queue.size)
      return CHAIN_BAD_INDIRECT;
    chain.steps += entries; // copied, whatever becomes of them
    const fault = chain.fetchTable(address, length, memory);
    if (fault !== 0) return fault;
    return this.addBuffers(chain.scratch, entries, true, queue, writable, chain, memory);
  }
}
