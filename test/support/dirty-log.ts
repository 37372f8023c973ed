/**
 * The dirty log of a live migration as the front-end shares it: one bit per 4 KiB page of guest memory (vhost-user "Migration").
 */
import { native } from '../../src/native.ts';
import type { FrontEnd } from './frontend.ts';
import { REQUEST } from './protocol.ts';

const PAGE = 4096;

export class DirtyLogArea {
  readonly descriptor: number;
  readonly bytes: Buffer;
  readonly #handle: number;

  /** Covers guest addresses up to `top`. */
  constructor(top: number) {
    const size = Math.ceil(top / PAGE / 8 / PAGE) * PAGE;
    this.descriptor = native.memfd('dirty-log', size, true);
    this.#handle = native.mapRegion(this.descriptor, 0, size);
    this.bytes = Buffer.from(native.viewRegion(this.#handle, 0, size));
  }

  /** SET_LOG_BASE; the answer's value. */
  share(frontEnd: FrontEnd, size = this.bytes.length, offset = 0n): Promise<bigint> {
    const payload = Buffer.alloc(16);
    payload.writeBigUInt64LE(BigInt(size), 0);
    payload.writeBigUInt64LE(offset, 8);
    return frontEnd.askNumber(REQUEST.SET_LOG_BASE, payload, { descriptors: [this.descriptor] });
  }

  marked(address: number): boolean {
    const page = Math.floor(address / PAGE);
    return (this.bytes[page >> 3] & (1 << (page & 7))) !== 0;
  }

  /** Pages that are marked. */
  get count(): number {
    let count = 0;
    for (const byte of this.bytes) for (let bits = byte; bits !== 0; bits &= bits - 1) count++;
    return count;
  }

  clear(): void {
    this.bytes.fill(0);
  }

  close(): void {
    native.unmapRegion(this.#handle);
    native.closeDescriptor(this.descriptor);
  }
}
