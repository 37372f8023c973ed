/**
 * The dirty log of a live migration (vhost-user.rst, "Migration"): one bit per 4 KiB page of guest memory that the base
 * wrote to, in memory that all back-ends of the VM share, so bits are set atomically. Every write counts: data and headers in
 * input buffers, used elements, the used index, the avail event.
 */
import type { Native } from '../native.ts';

export class DirtyLog {
  private readonly native: Native;
  private readonly bits: Uint8Array;
  /** Handle of the mapped region. */
  readonly region: number;

  /** Takes ownership of the mapped region `region` of `bytes` bytes. */
  constructor(native: Native, region: number, bytes: number) {
    this.native = native;
    this.region = region;
    this.bits = new Uint8Array(native.viewRegion(region, 0, bytes));
  }

  /** Marks the pages of guest memory [address, address + length). What is beyond the log's end is ignored, as the peer sized it. */
  mark(address: number, length: number): void {
    if (length <= 0) return;
    const first = Math.floor(address / 4096);
    const last = Math.floor((address + length - 1) / 4096);
    for (let page = first; page <= last; page++) {
      const byte = Math.floor(page / 8);
      if (byte >= this.bits.length) return;
      Atomics.or(this.bits, byte, 1 << (page % 8));
    }
  }

  /** Unmaps it. */
  close(): void {
    this.native.unmapRegion(this.region);
  }
}
