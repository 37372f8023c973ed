/**
 * `input.ts` for packed rings: puts a datagram from base storage into a VM's input buffer, all or nothing.
 */
import { CELL } from '../counters.ts';
import { HEADER_BYTES } from '../storage/base-storage.ts';
import { ENDLESS, NONE } from '../virtio/packed-chain.ts';
import type { PackedQueue } from '../virtio/packed-queue.ts';
import { BROKEN } from '../virtio/virtqueue.ts';
import { HEADER_BYTES as ETHERNET_HEADER_BYTES } from '../wire/ethernet.ts';
import { FULL, MAX_STEPS, MAX_STEPS_PER_TURN, type Receiver, TOO_MANY_STEPS } from './input.ts';
import type { Workspace } from './workspace.ts';

const INPUT_TOO_SMALL = CELL.inputTooSmall;
const BAD_INPUT_CHAINS = CELL.badInputChains;

/** The shortest frame: what a single buffer must hold besides the virtio-net header to be of any use. */
const ETHERNET_HEADER = ETHERNET_HEADER_BYTES;
/** Chains one datagram may take: 64 KiB in buffers of 16 bytes. */
const MAX_CHAINS = 4096;
const ids = new Int32Array(MAX_CHAINS);
const counts = new Int32Array(MAX_CHAINS);
const parts = new Int32Array(MAX_CHAINS);

/** See `putInput`: 0, FULL, BROKEN, or a drop cell. */
export function putPacked(
  queue: PackedQueue,
  firstCell: number,
  receiver: Receiver,
  at: number,
  length: number,
  workspace: Workspace,
): number {
  const { headerBytes, mergeable, memory } = receiver;
  const { storage, chain, packedChain, cells } = workspace;
  const needed = headerBytes + length;
  if (queue.headRoom.lacks(queue.nextAvail, needed)) return INPUT_TOO_SMALL;
  if (queue.spent >= MAX_STEPS_PER_TURN) {
    queue.fullAt = queue.nextAvail;
    return FULL;
  }
  let position = queue.nextAvail;
  let wrap = queue.availWrap;
  let chains = 0;
  let descriptors = 0;
  let steps = 0; // of chains that went back unused
  chain.begin();
  while (chain.total < needed) {
    const before = chain.total;
    const fault = chains === MAX_CHAINS ? NONE : packedChain.take(queue, true, chain, memory);
    if (fault === ENDLESS) {
      // What was found before for this datagram was not given back either.
      queue.rewind(position, wrap);
      return BROKEN;
    }
    if (fault === NONE) {
      queue.fullAt = queue.nextAvail;
      queue.rewind(position, wrap);
      queue.spent += steps + chain.steps;
      if (descriptors < queue.size && chains < MAX_CHAINS) return FULL;
      queue.headRoom.remember(position, chain.total);
      return INPUT_TOO_SMALL;
    }
    if (steps + chain.steps > MAX_STEPS) {
      queue.rewind(position, wrap);
      queue.broken = TOO_MANY_STEPS;
      return BROKEN;
    }
    ids[chains] = packedChain.id;
    counts[chains] = packedChain.count;
    descriptors += packedChain.count;
    if (fault !== 0 || chain.total < (mergeable ? headerBytes : headerBytes + ETHERNET_HEADER)) {
      // Unusable: it goes back empty, and so do the buffers before it, so that the ring moves on.
      for (let index = 0; index <= chains; index++) queue.giveBack(ids[index], counts[index], 0);
      cells[firstCell + BAD_INPUT_CHAINS] += chains + 1;
      position = queue.nextAvail;
      wrap = queue.availWrap;
      chains = 0;
      descriptors = 0;
      steps += chain.steps;
      chain.begin();
      continue;
    }
    parts[chains] = Math.min(chain.total, needed) - before;
    if (!mergeable && parts[chains] < needed) {
      queue.rewind(position, wrap);
      queue.headRoom.remember(position, chain.total);
      return INPUT_TOO_SMALL;
    }
    chains++;
  }
  if (headerBytes === HEADER_BYTES) storage.halves[(at - 2) >> 1] = chains;
  else storage.bytes.copyWithin(at - headerBytes, at - HEADER_BYTES, at - 2);
  chain.fill(at - headerBytes, needed, queue.log);
  for (let index = 0; index < chains; index++)
    queue.giveBack(ids[index], counts[index], parts[index]);
  queue.spent += steps + chain.steps;
  return 0;
}
