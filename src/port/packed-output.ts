/**
 * `output.ts` for packed rings: takes datagrams out of a VM's output buffer into base storage, with the same checks and the
 * same outcomes.
 */
import { CELL } from '../counters.ts';
import { MAX_FRAME_BYTES } from '../storage/base-storage.ts';
import { DESC_F_INDIRECT, DESC_F_NEXT, DESC_F_WRITE } from '../virtio/chain.ts';
import type { GuestMemory } from '../virtio/guest-memory.ts';
import { ENDLESS, NONE } from '../virtio/packed-chain.ts';
import { PackedQueue } from '../virtio/packed-queue.ts';
import { BROKEN } from '../virtio/virtqueue.ts';
import { HEADER_BYTES as ETHERNET_HEADER_BYTES } from '../wire/ethernet.ts';
import type { Attachment } from './attachment.ts';
import { atOnce, type Budget } from './output.ts';
import type { GatherPlainPacked } from './plain-packed.ts';
import type { Port } from './port.ts';
import type { Workspace } from './workspace.ts';

const RECEIVED_DATAGRAMS = CELL.receivedDatagrams;
const RECEIVED_BYTES = CELL.receivedBytes;
const SHORT_CHAIN = CELL.shortChain;
const RUNT = CELL.runt;
const OVERSIZE = CELL.oversize;
const RING_DISABLED = CELL.ringDisabled;

const ETHERNET_HEADER = ETHERNET_HEADER_BYTES;
const NOT_PLAIN = (DESC_F_NEXT | DESC_F_WRITE | DESC_F_INDIRECT) << 16;

/** See `gatherOutput`: chains taken, or BROKEN with `queue.broken` set. */
export function gatherPacked(
  queue: PackedQueue,
  port: Pick<Port, 'number' | 'firstCell'>,
  attachment: Pick<Attachment, 'headerBytes' | 'memory'>,
  budget: Budget,
  workspace: Workspace,
  gatherPlainPacked: GatherPlainPacked,
): number {
  const { number, firstCell } = port;
  const { headerBytes, memory } = attachment;
  const { storage, copies, chain, packedChain, cells } = workspace;
  const { descriptors } = queue;
  const limit = atOnce(budget.datagrams, budget, queue.size);
  const mostDescriptors = atOnce(budget.descriptors, budget, queue.size);
  let taken = 0;
  let descriptorsLeft = mostDescriptors;
  let bytesLeft = budget.bytes;
  let received = 0;
  while (taken < limit && descriptorsLeft > 0 && bytesLeft > 0) {
    const left = limit - taken;
    const most = left < descriptorsLeft ? left : descriptorsLeft;
    const plain = gatherPlainPacked(queue, headerBytes, memory, number, most, bytesLeft);
    if (plain > 0) {
      taken += plain;
      descriptorsLeft -= plain;
      bytesLeft -= queue.movedBytes;
      received += queue.movedBytes;
      cells[firstCell + RECEIVED_DATAGRAMS] += plain;
      continue;
    }
    // Several buffers, nothing more, or something wrong: the careful way, for one chain.
    const position = queue.nextAvail;
    const wrap = queue.availWrap;
    const word = position * 4;
    const last = Atomics.load(descriptors, word + 3);
    if (!PackedQueue.isAvailable(last, wrap)) break;
    let fault = 0;
    let count = 1;
    let id = last & 0xffff;
    let total = descriptors[word + 2] >>> 0;
    let region = -1;
    const address = (descriptors[word + 1] >>> 0) * 4294967296 + (descriptors[word] >>> 0);
    if ((last & NOT_PLAIN) === 0) region = memory.find(address, total);
    if (region >= 0) {
      queue.advance(1);
    } else {
      chain.begin();
      fault = packedChain.take(queue, false, chain, memory);
      if (fault === NONE) break;
      if (fault === ENDLESS) break;
      ({ id, count } = packedChain);
      total = chain.total;
      descriptorsLeft -= chain.steps - count; // an indirect table costs what it holds
    }
    descriptorsLeft -= count;
    const frame = total - headerBytes;
    if (fault === 0) {
      if (frame < ETHERNET_HEADER) fault = frame <= 0 ? SHORT_CHAIN : RUNT;
      else if (frame > MAX_FRAME_BYTES) fault = OVERSIZE;
    }
    if (fault !== 0) {
      queue.giveBack(id, count, 0);
      taken++;
      cells[firstCell + RECEIVED_DATAGRAMS]++;
      cells[firstCell + fault]++;
      continue;
    }
    if (copies.count >= copies.rows) copies.gather();
    const slot = storage.take(number, frame);
    if (slot < 0) {
      queue.rewind(position, wrap);
      break;
    }
    const at = storage.at[slot] - headerBytes;
    if (region >= 0) copies.add(memory.handles[region], address - memory.starts[region], at, total);
    else chain.addCopies(at, total);
    queue.giveBack(id, count, 0);
    taken++;
    received += frame;
    bytesLeft -= frame;
    cells[firstCell + RECEIVED_DATAGRAMS]++;
  }
  queue.walked = mostDescriptors - descriptorsLeft;
  queue.filled = taken === limit || descriptorsLeft <= 0 || bytesLeft <= 0;
  cells[firstCell + RECEIVED_BYTES] += received;
  return queue.broken === '' ? taken : BROKEN;
}

/** See `discardOutput`. */
export function discardPacked(
  queue: PackedQueue,
  firstCell: number,
  memory: GuestMemory,
  budget: Budget,
  workspace: Workspace,
): number {
  const { chain, packedChain, cells } = workspace;
  const limit = atOnce(budget.datagrams, budget, queue.size);
  const mostDescriptors = atOnce(budget.descriptors, budget, queue.size);
  let taken = 0;
  queue.walked = 0;
  queue.filled = false;
  for (; taken < limit && queue.walked < mostDescriptors; taken++) {
    chain.begin();
    const fault = packedChain.take(queue, false, chain, memory);
    if (fault === NONE) return taken;
    if (fault === ENDLESS) return BROKEN;
    queue.giveBack(packedChain.id, packedChain.count, 0);
    queue.walked += chain.steps;
    cells[firstCell + RECEIVED_DATAGRAMS]++;
    cells[firstCell + RING_DISABLED]++;
  }
  queue.filled = true;
  return taken;
}
