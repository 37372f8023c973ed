/** What datagrams are taken out of rings and put into rings with: one for each turn worker, which alone uses it. */
import type { BaseStorage } from '../storage/base-storage.ts';
import type { CopyList } from '../storage/copy-list.ts';
import type { Chain } from '../virtio/chain.ts';
import type { PackedChain } from '../virtio/packed-chain.ts';

export interface Workspace {
  storage: BaseStorage;
  copies: CopyList;
  /** The chain that is being walked, and of a packed ring its descriptors. */
  chain: Chain;
  packedChain: PackedChain;
  /** All counters; those of a port begin at its `firstCell`. */
  cells: Float64Array;
}
