/**
 * A VM of the ring fuzzer: its memory lies in this process, its driver is whatever the generator writes there. Regions have
 * guest and user addresses that differ, two pairs of them touch, and there is a hole between the pairs:
 *
 *     guest 0x000000 .. 0x010000   rings and indirect tables in the first half, buffers in the second
 *           0x010000 .. 0x020000   buffers, directly behind
 *           0x100000 .. 0x108000   buffers
 *           0x108000 .. 0x110000   buffers, directly behind
 */
import { native } from '../../src/native.ts';
import { Attachment } from '../../src/port/attachment.ts';
import type { Ring } from '../../src/port/ring.ts';
import type { Bits } from '../../src/virtio/features.ts';

export const REGIONS = [
  { guest: 0, bytes: 0x10000 },
  { guest: 0x10000, bytes: 0x10000 },
  { guest: 0x100000, bytes: 0x8000 },
  { guest: 0x108000, bytes: 0x8000 },
] as const;
const USER = 0x7f00_0000_0000;

/** Guest addresses of the parts of ring `index`, for at most 256 entries. */
export const partsOf = (index: number) => ({
  descriptors: index * 0x2000,
  avail: index * 0x2000 + 0x1000,
  used: index * 0x2000 + 0x1400,
});
/** Indirect tables lie here; buffers to read and to write further on. */
export const TABLES = { start: 0x4000, end: 0x8000 };
export const READ_BUFFERS = { start: 0x8000, end: 0x20000 };
export const WRITE_BUFFERS = { start: 0x100000, end: 0x110000 };

export interface Region {
  guest: number;
  user: number;
  bytes: number;
  handle: number;
  memory: Buffer;
  /** What the memory held before the turn. */
  shadow: Buffer;
  /** 1 where the base may write in this turn. */
  mask: Uint8Array;
}

export class Guest {
  readonly number: number;
  readonly regions: Region[];
  attachment: Attachment;

  constructor(number: number) {
    this.number = number;
    this.regions = REGIONS.map(({ guest, bytes }) => {
      const fd = native.memfd('guest-memory', bytes, true);
      const handle = native.mapRegion(fd, 0, bytes);
      native.closeDescriptor(fd);
      const memory = Buffer.from(native.viewRegion(handle, 0, bytes));
      const shadow = Buffer.alloc(bytes);
      const mask = new Uint8Array(bytes);
      return { guest, user: USER + guest * 2, bytes, handle, memory, shadow, mask };
    });
    this.attachment = new Attachment(native);
  }

  /** A new front-end with this memory, emptied. */
  begin(features: Bits): Attachment {
    this.attachment = new Attachment(native);
    for (const region of this.regions) {
      region.memory.fill(0);
      const { guest, user, bytes, handle } = region;
      this.attachment.memory.add({ guest, user, bytes, handle });
    }
    this.attachment.setFeatures(features);
    return this.attachment;
  }

  /** Starts a ring as SET_VRING_KICK does. */
  start(index: number, size: number, base: number, enabled: boolean): Ring {
    const ring = this.attachment.ring(index)!;
    ring.started = false;
    this.attachment.applyFeatures(ring);
    const { descriptors, avail, used } = partsOf(index);
    const at = (offset: number) => USER + offset; // all rings lie in the first region
    ring.size = size;
    ring.enabled = enabled;
    ring.address = {
      descriptors: at(descriptors),
      avail: at(avail),
      used: at(used),
      log: 0,
      logged: false,
    };
    const fault = ring.queue.map(native, this.attachment.memory, size, ring.address, base);
    if (fault !== '') throw new Error(fault);
    ring.started = true;
    this.attachment.refresh();
    return ring;
  }

  /** The region of a guest address, or null. */
  region(address: number): Region | null {
    for (const region of this.regions) {
      if (address >= region.guest && address < region.guest + region.bytes) return region;
    }
    return null;
  }

  /** Copies bytes to a guest address, as far as there is memory. */
  write(address: number, bytes: Uint8Array, from = 0, to = bytes.length): void {
    let at = address;
    for (let next = from; next < to; ) {
      const region = this.region(at);
      if (region === null) return;
      const offset = at - region.guest;
      const part = Math.min(to - next, region.bytes - offset);
      region.memory.set(bytes.subarray(next, next + part), offset);
      next += part;
      at += part;
    }
  }

  /** Writes one descriptor at a guest address inside one region. */
  descriptor(at: number, low: number, high: number, length: number, last: number): void {
    const region = this.region(at);
    if (region === null || at - region.guest + 16 > region.bytes) return;
    const offset = at - region.guest;
    region.memory.writeInt32LE(low | 0, offset);
    region.memory.writeInt32LE(high | 0, offset + 4);
    region.memory.writeInt32LE(length | 0, offset + 8);
    region.memory.writeInt32LE(last | 0, offset + 12);
  }
}
