/**
 * 4. Puts a datagram from base storage into a VM's input buffer (a receive virtqueue): the last stage of the way.
 *
 * All or nothing: the buffers a datagram needs are found first, then the rows are made; when they don't suffice nothing is
 * taken and no receiver is ever waited for. A malformed input chain goes back with length 0, so that it can't wedge the ring.
 */
import { CELL } from '../counters.ts';
import { HEADER_BYTES } from '../storage/base-storage.ts';
import { DESC_F_INDIRECT, DESC_F_NEXT, DESC_F_WRITE } from '../virtio/chain.ts';
import { RING as AVAIL_RING, type SplitQueue } from '../virtio/split-queue.ts';
import { BROKEN } from '../virtio/virtqueue.ts';
import { HEADER_BYTES as ETHERNET_HEADER_BYTES } from '../wire/ethernet.ts';
import type { Attachment } from './attachment.ts';
import type { Workspace } from './workspace.ts';

const BAD_INPUT_CHAINS = CELL.badInputChains;
const INPUT_TOO_SMALL = CELL.inputTooSmall;

// A module's own constants cost V8 nothing, imported ones a load and a check per use.
const RING = AVAIL_RING;
/** The shortest frame: what a single buffer must hold besides the virtio-net header to be of any use. */
const ETHERNET_HEADER = ETHERNET_HEADER_BYTES;
const FLAGS = DESC_F_NEXT | DESC_F_WRITE | DESC_F_INDIRECT;

/**
 * Descriptors that may be looked at to find room for one datagram: 64 KiB in buffers of 16 bytes. Without it, a ring full of long
 * chains of empty descriptors costs its size squared for each datagram, and all VMs wait.
 */
export const MAX_STEPS = 4096;
/** And for all that one turn puts into a ring; what is left waits for the next. */
export const MAX_STEPS_PER_TURN = 4 * MAX_STEPS;
export const TOO_MANY_STEPS = 'no datagram needs so many descriptors of input buffers';

/** What was negotiated with whom a datagram is put to, and where its memory is. */
export type Receiver = Pick<Attachment, 'headerBytes' | 'mergeable' | 'memory'>;

/** `putInput`: no buffers just now; it may wait in the backlog. */
export const FULL = -2;

/**
 * Puts the frame at `at` (its 12-byte virtio-net header in front, canonical, num_buffers not yet set) into one ring.
 * 0 when done; FULL; BROKEN with `queue.broken` set; or the counter cell of a drop reason.
 * `firstCell`: the port's first counter cell. The arena's header is rewritten for the receiver.
 */
export function putInput(
  queue: SplitQueue,
  firstCell: number,
  receiver: Receiver,
  at: number,
  length: number,
  workspace: Workspace,
): number {
  const { headerBytes, memory } = receiver;
  const { storage, copies } = workspace;
  if (queue.ready === 0) {
    const available = queue.available();
    if (available <= 0) {
      if (available === 0) {
        queue.fullAt = queue.nextAvail;
        return FULL;
      }
      queue.broken = 'the avail index moved further than the ring is long';
      return BROKEN;
    }
    queue.ready = available;
  }
  const needed = headerBytes + length;
  const head = queue.avail[RING + (queue.nextAvail & queue.mask)];
  if (head >= queue.size) {
    queue.broken = `avail entry names descriptor ${head} of ${queue.size}`;
    return BROKEN;
  }
  if (headerBytes === HEADER_BYTES && copies.count < copies.rows) {
    // The common case: one writable buffer that holds it all.
    const { descriptors } = queue;
    const word = head * 4;
    const low = descriptors[word] >>> 0;
    const high = descriptors[word + 1] >>> 0;
    const space = descriptors[word + 2] >>> 0;
    const flags = descriptors[word + 3];
    if ((flags & FLAGS) === DESC_F_WRITE && space >= needed) {
      const address = high * 4294967296 + low;
      let region = memory.last;
      if (!(address >= memory.starts[region] && address + needed <= memory.ends[region])) {
        region = memory.find(address, needed);
      }
      if (region >= 0) {
        storage.halves[(at - 2) >> 1] = 1; // num_buffers
        copies.add(
          memory.handles[region],
          address - memory.starts[region],
          at - HEADER_BYTES,
          needed,
        );
        queue.giveBack(head, needed);
        queue.nextAvail = (queue.nextAvail + 1) & 0xffff;
        queue.ready--;
        if (queue.log !== null) {
          copies.deliver(); // first, as in Chain.fill
          queue.log.mark(address, needed);
        }
        return 0;
      }
    }
  }
  return putChains(queue, firstCell, receiver, at, length, workspace);
}

/** The careful way: several descriptors, several merged buffers, or something wrong. */
function putChains(
  queue: SplitQueue,
  firstCell: number,
  receiver: Receiver,
  at: number,
  length: number,
  workspace: Workspace,
): number {
  const { headerBytes, mergeable, memory } = receiver;
  const { storage, chain, cells } = workspace;
  const needed = headerBytes + length;
  if (queue.headRoom.lacks(queue.nextAvail, needed)) return INPUT_TOO_SMALL;
  if (queue.spent >= MAX_STEPS_PER_TURN) {
    queue.fullAt = queue.nextAvail;
    return FULL;
  }
  let firstAvail = queue.nextAvail;
  let firstUsed = queue.nextUsed;
  let chains = 0;
  let steps = 0; // of chains that went back unused
  chain.begin();
  while (chain.total < needed) {
    if (queue.ready === 0) queue.ready = queue.available();
    if (queue.ready === BROKEN) {
      queue.ready = 0;
      rewind(queue, firstAvail, firstUsed); // nothing was put into what was taken so far
      queue.broken = 'the avail index moved further than the ring is long';
      return BROKEN;
    }
    if (queue.ready === 0 || chains === queue.size) {
      queue.fullAt = queue.nextAvail;
      rewind(queue, firstAvail, firstUsed);
      queue.spent += steps + chain.steps;
      if (chains < queue.size) return FULL;
      queue.headRoom.remember(firstAvail, chain.total);
      return INPUT_TOO_SMALL;
    }
    const head = queue.avail[RING + (queue.nextAvail & queue.mask)];
    if (head >= queue.size) {
      rewind(queue, firstAvail, firstUsed);
      queue.broken = `avail entry names descriptor ${head} of ${queue.size}`;
      return BROKEN;
    }
    const before = chain.total;
    const fault = chain.walk(queue.descriptors, queue.size, head, true, queue.indirect, memory);
    if (steps + chain.steps > MAX_STEPS) {
      rewind(queue, firstAvail, firstUsed);
      queue.broken = TOO_MANY_STEPS;
      return BROKEN;
    }
    queue.nextAvail = (queue.nextAvail + 1) & 0xffff;
    queue.ready--;
    if (fault !== 0 || chain.total < (mergeable ? headerBytes : headerBytes + ETHERNET_HEADER)) {
      // Unusable: it goes back empty, and so do the buffers before it, so that the ring moves on.
      queue.giveBack(head, 0);
      queue.emptySince(firstUsed);
      cells[firstCell + BAD_INPUT_CHAINS] += chains + 1;
      firstAvail = queue.nextAvail;
      firstUsed = queue.nextUsed;
      chains = 0;
      steps += chain.steps;
      chain.begin();
      continue;
    }
    const part = Math.min(chain.total, needed) - before;
    if (!mergeable && part < needed) {
      rewind(queue, firstAvail, firstUsed);
      queue.headRoom.remember(firstAvail, chain.total);
      return INPUT_TOO_SMALL;
    }
    queue.giveBack(head, part);
    chains++;
  }
  if (headerBytes === HEADER_BYTES) storage.halves[(at - 2) >> 1] = chains;
  else storage.bytes.copyWithin(at - headerBytes, at - HEADER_BYTES, at - 2);
  chain.fill(at - headerBytes, needed, queue.log);
  queue.spent += steps + chain.steps;
  return 0;
}

/** Takes back what was reserved for a datagram that doesn't fit. */
function rewind(queue: SplitQueue, avail: number, used: number): void {
  queue.ready = (queue.ready + queue.nextAvail - avail) & 0xffff;
  queue.nextAvail = avail;
  queue.nextUsed = used;
}
