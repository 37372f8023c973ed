/**
 * Datagrams that are larger than the next wire takes and may be cut go on in pieces: fragments, or, where segmentation was asked for,
 * segments and their fragments, as Linux's `ip_finish_output_gso` makes them. Rare: nobody who looks for the path's MTU needs it.
 */
import type { Port } from '../port/port.ts';
import type { BaseStorage } from '../storage/base-storage.ts';
import * as ethernet from '../wire/ethernet.ts';
import * as ipv4 from '../wire/ipv4.ts';
import * as virtio from '../wire/virtio-net-header.ts';
import { fragment, fragmentsOf } from './fragment.ts';
import type { Network } from './network.ts';
import { completeChecksum, longestDatagram, MAX_PIECES, needsSegmentation } from './offload.ts';
import type { Router } from './router.ts';
import { segment } from './segment.ts';
import { drop, IN_PIECES, UNDECIDED } from './verdict.ts';
import type { WayOut } from './way-out.ts';

const STORAGE_FULL = drop('storageFull');

const IP = ethernet.HEADER_BYTES;

/** `cut`: it must not be cut. */
export const WHOLE = 0;

export class Pieces {
  private readonly router: Router;
  private readonly storage: BaseStorage;

  constructor(storage: BaseStorage, router: Router) {
    this.router = router;
    this.storage = storage;
  }

  /**
   * Cuts the datagram in `slot`, whose offload was checked and which is longer than `mtu`. Returns how many slots were appended for it,
   * those that are to go on with `to` undecided; WHOLE, the datagram unchanged, when it must not be cut or into too many; -1 when
   * storage has no room. Every slot appended counts as one more received, so that the books balance.
   */
  cut(slot: number, mtu: number): number {
    const { storage } = this;
    const { bytes, count, fill } = storage;
    const at = storage.at[slot];
    const pieces = fragmentsOf(bytes, at + IP, longestDatagram(storage, slot), mtu);
    let segments = 1;
    if (needsSegmentation(storage, slot)) {
      const header = at - virtio.HEADER_BYTES;
      const data = storage.length[slot] - virtio.hdrLen(bytes, header);
      segments = Math.ceil(data / virtio.gsoSize(bytes, header));
    }
    if (pieces === 0 || pieces * segments > MAX_PIECES) return WHOLE;
    const from = storage.from[slot];
    if (!this.router.mayMake(from)) return -1;
    if (!(segments > 1 ? this.cutSegments(slot, mtu) : this.cutWhole(slot, mtu))) {
      storage.count = count;
      storage.fill = fill;
      return -1;
    }
    const appended = storage.count - count;
    this.router.noteMade(from, appended);
    return appended;
  }

  private cutWhole(slot: number, mtu: number): boolean {
    completeChecksum(this.storage, slot);
    return this.inFragments(slot, mtu);
  }

  private cutSegments(slot: number, mtu: number): boolean {
    const { storage } = this;
    storage.to[slot] = UNDECIDED;
    const first = storage.count;
    const segments = segment(storage, slot);
    storage.cut(slot, first, segments);
    for (let part = first; part < first + segments; part++) {
      if (storage.length[part] - IP <= mtu) continue; // the last may be short
      if (!this.inFragments(part, mtu)) return false;
      storage.to[part] = IN_PIECES;
    }
    return segments > 0;
  }

  private inFragments(slot: number, mtu: number): boolean {
    const { storage } = this;
    const first = storage.count;
    const count = fragment(storage, slot, mtu);
    storage.cut(slot, first, count);
    return count > 0;
  }

  /** The last `appended` slots, as `cut` returned them, go to a VM, with a lower time to live when `hop`; the verdict for the whole. */
  toVm(appended: number, target: Port, network: Network, hop: boolean): number {
    if (appended < 0) return STORAGE_FULL;
    const { storage, router } = this;
    const end = storage.count;
    for (let piece = end - appended; piece < end; piece++) {
      if (storage.to[piece] !== UNDECIDED) continue;
      if (hop) ipv4.decrementTimeToLive(storage.bytes, storage.at[piece] + IP);
      storage.to[piece] = router.toVm(piece, target, network);
    }
    return IN_PIECES;
  }

  /** As `toVm`, out through an adapter. */
  toAdapter(appended: number, adapter: WayOut, nextHop: number, hop: boolean): number {
    if (appended < 0) return STORAGE_FULL;
    const { storage } = this;
    const end = storage.count;
    for (let piece = end - appended; piece < end; piece++) {
      if (storage.to[piece] !== UNDECIDED) continue;
      if (hop) ipv4.decrementTimeToLive(storage.bytes, storage.at[piece] + IP);
      storage.to[piece] = adapter.resolve(piece, nextHop);
    }
    return IN_PIECES;
  }
}
