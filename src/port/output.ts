/**
 * 1. Takes datagrams out of a VM's output buffer (a transmit virtqueue) into base storage: the first stage of the way.
 *
 * Only rows of a copy list are made here; the bytes move when the stage's one native call is made. What is malformed
 * never leaves the ring's owner: the chain goes back with length 0 and is counted ("recycle"), an impossible index or
 * head stops this ring ("broken"). Whatever is taken is given back in the same turn, right after the copies.
 */
import { CELL } from '../counters.ts';
import { MAX_FRAME_BYTES, type BaseStorage } from '../storage/base-storage.ts';
import type { CopyList } from '../storage/copy-list.ts';
import { type Chain, DESC_F_INDIRECT, DESC_F_NEXT, DESC_F_WRITE } from '../virtio/chain.ts';
import { BROKEN, type SplitQueue } from '../virtio/split-queue.ts';
import type { GuestMemory } from '../virtio/guest-memory.ts';

// Read once: the table of cells is too large for V8 to keep as a fast object.
const OVERSIZE = CELL.oversize;
const RECEIVED_BYTES = CELL.receivedBytes;
const RECEIVED_DATAGRAMS = CELL.receivedDatagrams;
const RING_DISABLED = CELL.ringDisabled;
const RUNT = CELL.runt;
const SHORT_CHAIN = CELL.shortChain;

const RING = 2;
const ETHERNET_HEADER = 14;
const NOT_PLAIN = DESC_F_NEXT | DESC_F_WRITE | DESC_F_INDIRECT;

/** What a turn may take from one ring: no VM can fill a turn alone. */
export interface Budget {
  datagrams: number;
  descriptors: number;
  bytes: number;
}

/**
 * Gathers from one started and enabled ring. Returns the chains taken (0: nothing there), or BROKEN with `queue.broken` set.
 * `record`: the port's first counter cell; `headerBytes`: of the virtio-net header as negotiated (12, or 10 for a legacy driver without MRG_RXBUF).
 */
export function gatherOutput(
  queue: SplitQueue,
  record: number,
  headerBytes: number,
  memory: GuestMemory,
  storage: BaseStorage,
  copies: CopyList,
  chain: Chain,
  budget: Budget,
  port: number,
  cells: Float64Array,
): number {
  const available = queue.available();
  if (available <= 0) {
    if (available === BROKEN) queue.broken = 'the avail index moved further than the ring is long';
    return available;
  }
  const { size, mask, avail, descriptors } = queue;
  const { starts, ends, handles } = memory;
  const limit = available < budget.datagrams ? available : budget.datagrams;
  let next = queue.nextAvail;
  let taken = 0;
  let descriptorsLeft = budget.descriptors;
  let bytesLeft = budget.bytes;
  let received = 0;
  while (taken < limit && descriptorsLeft > 0 && bytesLeft > 0) {
    const head = avail[RING + (next & mask)];
    if (head >= size) {
      queue.broken = `avail entry names descriptor ${head} of ${size}`;
      break;
    }
    const word = head * 4;
    const low = descriptors[word] >>> 0;
    const high = descriptors[word + 1] >>> 0;
    const length = descriptors[word + 2] >>> 0;
    const flags = descriptors[word + 3];
    let total = length;
    let region = -1;
    const address = high * 4294967296 + low;
    if ((flags & NOT_PLAIN) === 0) {
      region = memory.last;
      if (!(address >= starts[region] && address + length <= ends[region]))
        region = memory.find(address, length);
    }
    let fault = 0;
    if (region < 0) {
      // More than one buffer, or something wrong: the careful way.
      chain.begin();
      fault = chain.walk(descriptors, size, head, false, queue.indirect, memory);
      descriptorsLeft -= chain.steps;
      total = chain.total;
    } else {
      descriptorsLeft--;
    }
    const frame = total - headerBytes;
    if (fault === 0) {
      if (frame < ETHERNET_HEADER) fault = frame <= 0 ? SHORT_CHAIN : RUNT;
      else if (frame > MAX_FRAME_BYTES) fault = OVERSIZE;
    }
    if (fault !== 0) {
      queue.giveBack(head, 0);
      next = (next + 1) & 0xffff;
      taken++;
      cells[record + RECEIVED_DATAGRAMS]++;
      cells[record + fault]++;
      continue;
    }
    if (copies.count >= copies.rows) copies.gather();
    const slot = storage.take(port, frame);
    if (slot < 0) break; // storage is full: the rest waits in the ring for the next turn
    const at = storage.at[slot] - headerBytes;
    if (region >= 0) copies.add(handles[region], address - starts[region], at, total);
    else chain.addCopies(copies, at, total);
    queue.giveBack(head, 0);
    next = (next + 1) & 0xffff;
    taken++;
    received += frame;
    bytesLeft -= frame;
    cells[record + RECEIVED_DATAGRAMS]++;
  }
  queue.nextAvail = next;
  cells[record + RECEIVED_BYTES] += received;
  return queue.broken === '' ? taken : BROKEN;
}

/**
 * Empties a ring that is started but disabled: processed without effect (vhost-user.rst, "Ring states"). Returns the chains
 * taken, or BROKEN.
 */
export function discardOutput(
  queue: SplitQueue,
  record: number,
  budget: Budget,
  cells: Float64Array,
): number {
  const available = queue.available();
  if (available <= 0) {
    if (available === BROKEN) queue.broken = 'the avail index moved further than the ring is long';
    return available;
  }
  const limit = Math.min(available, budget.datagrams);
  for (let taken = 0; taken < limit; taken++) {
    const head = queue.avail[RING + (queue.nextAvail & queue.mask)];
    if (head >= queue.size) {
      queue.broken = `avail entry names descriptor ${head} of ${queue.size}`;
      return BROKEN;
    }
    queue.giveBack(head, 0);
    queue.nextAvail = (queue.nextAvail + 1) & 0xffff;
    cells[record + RECEIVED_DATAGRAMS]++;
    cells[record + RING_DISABLED]++;
  }
  return limit;
}
