/**
 * Where things are in the memory that the turn workers share: one flag per worker, and for each ordered pair of workers one ring with a
 * single producer and a single consumer. It is a memfd of the main thread's, which each worker maps as a region (as it does with a
 * guest's memory), so that the copies into and out of rings are rows of the ordinary copy lists. No guest ever sees it.
 *
 *     page 0     per worker 64 bytes: 1 while it sleeps, 1 when it takes nothing more from its ports
 *     ring       producer's index | consumer's index | ENTRIES entries | DATA_BYTES
 *     entry      offset of its bytes in the ring's data | bytes of the frame | port it came from | where it goes (verdicts too)
 *     bytes      the 12-byte virtio-net header, canonical, and the Ethernet frame; contiguous, at a multiple of 64
 *
 * Indices only grow (modulo 2^32). The producer stores its own after the copies were carried out, so what is published is complete;
 * the consumer stores its own after its copies. Both outlive their workers: who starts again goes on where the one before was.
 */
export const MAX_WORKERS = 8;

/** Datagrams of one ring; a power of two. */
export const ENTRIES = 2048;
export const ENTRY_MASK = ENTRIES - 1;
export const DATA_BYTES = 2 << 20;
/** Every entry's bytes begin at a multiple of it. */
export const ALIGN = 64;

const PAGE = 4096;
const LINE = 64;

/** Byte offsets inside a ring. */
export const RING = {
  produced: 0,
  consumed: LINE,
  entries: PAGE,
  data: PAGE + ENTRIES * 16,
  bytes: PAGE + ENTRIES * 16 + DATA_BYTES,
} as const;

/** Int32 indices inside an entry. */
export const ENTRY = { offset: 0, length: 1, from: 2, to: 3, words: 4 } as const;

/** Bytes of the whole memory. */
export function handoffBytes(workers: number): number {
  return PAGE + workers * workers * RING.bytes;
}

/** Byte offset of the ring from one worker to another. */
export function ringStart(workers: number, producer: number, consumer: number): number {
  return PAGE + (producer * workers + consumer) * RING.bytes;
}

/** Byte offset of a worker's flag: 1 while it sleeps. */
export function sleepingAt(worker: number): number {
  return worker * LINE;
}

/** Byte offset of a worker's flag: 1 when it is ending and hands over nothing more that its VMs sent. */
export function quietAt(worker: number): number {
  return worker * LINE + 4;
}

/** What several workers share besides the plan: the rings between them (src/handoff/). The descriptors are the main thread's. */
export interface HandoffStart {
  /** memfd with all rings. */
  memory: number;
  /** Each worker's wake eventfd. */
  wakeFds: number[];
}
