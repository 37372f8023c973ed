/**
 * What finding input buffers for a datagram needs, without a front-end and with an addon that copies nothing: base storage with one
 * datagram in it, and a guest's memory of 1 GiB from address 0.
 */
import { CELLS } from '../../src/counters.ts';
import type { Native } from '../../src/native.ts';
import { putInput } from '../../src/port/input.ts';
import { putPacked } from '../../src/port/packed-input.ts';
import { BaseStorage } from '../../src/storage/base-storage.ts';
import { CopyList } from '../../src/storage/copy-list.ts';
import { Chain } from '../../src/virtio/chain.ts';
import { GuestMemory } from '../../src/virtio/guest-memory.ts';
import { PackedChain } from '../../src/virtio/packed-chain.ts';
import type { PackedQueue } from '../../src/virtio/packed-queue.ts';
import type { SplitQueue } from '../../src/virtio/split-queue.ts';

/** `deliver` hears of the rows that are carried out. */
export function inputWorld(deliver: (copies: CopyList, count: number) => void = () => {}) {
  const native = {
    gatherCopies: () => 0,
    deliverCopies: (count: number) => {
      deliver(copies, count);
      return 0;
    },
  } as unknown as Native;
  const arena = new ArrayBuffer(1 << 20);
  const storage = new BaseStorage(arena, 1 << 19, 64);
  const copies = new CopyList(native, new ArrayBuffer(24 * 4096));
  copies.delivering = true;
  const memory = new GuestMemory(native);
  memory.add({ guest: 0, user: 0, bytes: 1 << 30, handle: 0 });
  const at = storage.at[storage.take(0, 1514)];
  const chain = new Chain(copies, arena, 1 << 19);
  const cells = new Float64Array(CELLS.length);
  const workspace = { storage, copies, chain, packedChain: new PackedChain(), cells };
  /** As many bytes of the datagram, with a 12-byte header: what `putInput` or `putPacked` says. */
  const put = (queue: SplitQueue | PackedQueue, bytes: number, mergeable = false): number => {
    const receiver = { headerBytes: 12, mergeable, memory };
    return queue.format === 'split'
      ? putInput(queue, 0, receiver, at, bytes, workspace)
      : putPacked(queue, 0, receiver, at, bytes, workspace);
  };
  /** What its header says of how many buffers it is in. */
  const buffers = (): number => storage.halves[(at - 2) >> 1];
  return { buffers, copies, chain, cells, put };
}
