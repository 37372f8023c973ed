/**
 * 1. Takes datagrams out of a VM's output buffer (a transmit virtqueue) into base storage: the first stage of the way.
 *
 * Only rows of a copy list are made here; the bytes move when the stage's one native call is made. What is malformed
 * never leaves the ring's owner: the chain goes back with length 0 and is counted ("recycle"), an impossible index or
 * head stops this ring ("broken"). Whatever is taken is given back in the same turn, right after the copies.
 */
import { CELL } from '../counters.ts';
import { MAX_FRAME_BYTES } from '../storage/base-storage.ts';
import { RING as AVAIL_RING, type SplitQueue } from '../virtio/split-queue.ts';
import { BROKEN } from '../virtio/virtqueue.ts';
import { HEADER_BYTES as ETHERNET_HEADER_BYTES } from '../wire/ethernet.ts';
import type { Attachment } from './attachment.ts';
import type { GatherPlain } from './plain.ts';
import type { Port } from './port.ts';
import type { Workspace } from './workspace.ts';

const OVERSIZE = CELL.oversize;
const RECEIVED_BYTES = CELL.receivedBytes;
const RECEIVED_DATAGRAMS = CELL.receivedDatagrams;
const RING_DISABLED = CELL.ringDisabled;
const RUNT = CELL.runt;
const SHORT_CHAIN = CELL.shortChain;

// A module's own constants cost V8 nothing, imported ones a load and a check per use.
const RING = AVAIL_RING;
const ETHERNET_HEADER = ETHERNET_HEADER_BYTES;

/** What a turn may take from one ring. */
export interface Budget {
  datagrams: number;
  descriptors: number;
  bytes: number;
  /** Of a ring itself, this part at most: its size shifted right by so many bits. */
  shift: number;
}

/**
 * Of what a budget allows (`most` chains, or descriptors of all chains together), what a turn takes from a ring of `size` entries. A part of
 * the ring only, so that its driver refills the rest while we work, and the receivers' rings, which are seldom longer, have room
 * (docs/performance.md).
 */
export function atOnce(most: number, budget: Budget, size: number): number {
  const part = size >> budget.shift;
  if (part === 0) return 1;
  return most < part ? most : part;
}

/**
 * Gathers from one started and enabled ring of `port`. Returns the chains taken (0: nothing there), or BROKEN with `queue.broken` set;
 * the descriptors it saw are in `queue.walked`, and `queue.filled` says whether it took all that the budget allows. The virtio-net
 * header is as long as negotiated (12 bytes, or 10 for a legacy driver without MRG_RXBUF).
 */
export function gatherOutput(
  queue: SplitQueue,
  port: Pick<Port, 'number' | 'firstCell'>,
  attachment: Pick<Attachment, 'headerBytes' | 'memory'>,
  budget: Budget,
  workspace: Workspace,
  gatherPlain: GatherPlain,
): number {
  const { number, firstCell } = port;
  const { headerBytes, memory } = attachment;
  const { storage, copies, chain, cells } = workspace;
  queue.walked = 0;
  queue.filled = false;
  const available = queue.available();
  if (available <= 0) {
    if (available === BROKEN) queue.broken = 'the avail index moved further than the ring is long';
    return available;
  }
  const { size, mask, avail, descriptors } = queue;
  const mostChains = atOnce(budget.datagrams, budget, size);
  const mostDescriptors = atOnce(budget.descriptors, budget, size);
  const limit = available < mostChains ? available : mostChains;
  let taken = 0;
  let descriptorsLeft = mostDescriptors;
  let bytesLeft = budget.bytes;
  let received = 0;
  while (taken < limit && descriptorsLeft > 0 && bytesLeft > 0) {
    const most = limit - taken < descriptorsLeft ? limit - taken : descriptorsLeft;
    const plain = gatherPlain(queue, headerBytes, memory, number, most, bytesLeft);
    if (plain > 0) {
      taken += plain;
      descriptorsLeft -= plain;
      bytesLeft -= queue.movedBytes;
      received += queue.movedBytes;
      continue;
    }
    // Several buffers, or something wrong: the careful way, for one chain.
    const head = avail[RING + (queue.nextAvail & mask)];
    if (head >= size) {
      queue.broken = `avail entry names descriptor ${head} of ${size}`;
      break;
    }
    chain.begin();
    let fault = chain.walk(descriptors, size, head, false, queue.indirect, memory);
    descriptorsLeft -= chain.steps;
    const total = chain.total;
    const frame = total - headerBytes;
    if (fault === 0) {
      if (frame < ETHERNET_HEADER) fault = frame <= 0 ? SHORT_CHAIN : RUNT;
      else if (frame > MAX_FRAME_BYTES) fault = OVERSIZE;
    }
    if (fault !== 0) {
      cells[firstCell + fault]++;
    } else {
      if (copies.count >= copies.rows) copies.gather();
      const slot = storage.take(number, frame);
      if (slot < 0) break; // storage is full: the rest waits in the ring for the next turn
      chain.addCopies(storage.at[slot] - headerBytes, total);
      received += frame;
      bytesLeft -= frame;
    }
    queue.giveBack(head, 0);
    queue.nextAvail = (queue.nextAvail + 1) & 0xffff;
    taken++;
  }
  queue.walked = mostDescriptors - descriptorsLeft;
  queue.filled = taken === mostChains || descriptorsLeft <= 0 || bytesLeft <= 0;
  cells[firstCell + RECEIVED_DATAGRAMS] += taken;
  cells[firstCell + RECEIVED_BYTES] += received;
  return queue.broken === '' ? taken : BROKEN;
}

/**
 * Empties a ring that is started but disabled: processed without effect (vhost-user.rst, "Ring states"). Returns the chains
 * taken, or BROKEN, as `gatherOutput`.
 */
export function discardOutput(
  queue: SplitQueue,
  firstCell: number,
  budget: Budget,
  cells: Float64Array,
): number {
  queue.walked = 0;
  queue.filled = false;
  const available = queue.available();
  if (available <= 0) {
    if (available === BROKEN) queue.broken = 'the avail index moved further than the ring is long';
    return available;
  }
  const mostChains = atOnce(budget.datagrams, budget, queue.size);
  const limit = Math.min(available, mostChains);
  queue.walked = limit;
  queue.filled = limit === mostChains;
  for (let taken = 0; taken < limit; taken++) {
    const head = queue.avail[RING + (queue.nextAvail & queue.mask)];
    if (head >= queue.size) {
      queue.broken = `avail entry names descriptor ${head} of ${queue.size}`;
      return BROKEN;
    }
    queue.giveBack(head, 0);
    queue.nextAvail = (queue.nextAvail + 1) & 0xffff;
    cells[firstCell + RECEIVED_DATAGRAMS]++;
    cells[firstCell + RING_DISABLED]++;
  }
  return limit;
}
