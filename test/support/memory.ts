/**
 * A guest's memory in memfds of this process: regions with guest-physical, user and file addresses that all differ, as
 * QEMU's do, so that a back-end that confuses them is found out.
 */
import { native } from '../../src/native.ts';
import type { RegionFields } from './protocol.ts';

const PAGE = 4096;

export interface RegionOptions {
  guestAddress: number;
  bytes: number;
  /** Own file, or the next part of the file of the region before (as QEMU does around its PCI hole). */
  sameFile?: boolean;
  /** User address; default: guest address plus 0x7f1200000000. */
  userAddress?: bigint;
}

export interface MemoryOptions {
  regions?: readonly RegionOptions[];
  /** memfds that allow F_ADD_SEALS (as QEMU's memory-backend-memfd has them). */
  sealable?: boolean;
}

/** One region; `bytes` is this process's own mapping of it. */
export interface GuestRegion extends RegionFields {
  descriptor: number;
  at: number;
  length: number;
  bytes: Buffer;
  handle: number;
}

export const USER_OFFSET = 0x7f12_0000_0000n;

/** 16 MiB in two regions of one file, with a hole between them, like a PC's low memory. */
export const DEFAULT_REGIONS: readonly RegionOptions[] = [
  { guestAddress: 0, bytes: 0xa0000 },
  { guestAddress: 0x100000, bytes: 0xf00000, sameFile: true },
];

export class GuestMemory {
  readonly regions: GuestRegion[] = [];
  readonly #descriptors: number[] = [];
  #next: number[] = [];

  constructor(options: MemoryOptions = {}) {
    const wanted = options.regions ?? DEFAULT_REGIONS;
    for (let first = 0; first < wanted.length; ) {
      let end = first + 1;
      while (end < wanted.length && wanted[end].sameFile) end++;
      const file = wanted.slice(first, end);
      const fileBytes = file.reduce((sum, region) => sum + region.bytes, 0);
      const descriptor = native.memfd('guest-memory', fileBytes, options.sealable ?? true);
      this.#descriptors.push(descriptor);
      let offset = 0;
      for (const region of file) {
        this.#map(descriptor, offset, region);
        offset += region.bytes;
      }
      first = end;
    }
  }

  #map(descriptor: number, offset: number, region: RegionOptions): GuestRegion {
    const handle = native.mapRegion(descriptor, offset, region.bytes);
    const mapped: GuestRegion = {
      descriptor,
      at: region.guestAddress,
      length: region.bytes,
      guestAddress: BigInt(region.guestAddress),
      size: BigInt(region.bytes),
      userAddress: region.userAddress ?? USER_OFFSET + BigInt(region.guestAddress),
      mapOffset: BigInt(offset),
      bytes: Buffer.from(native.viewRegion(handle, 0, region.bytes)),
      handle,
    };
    this.regions.push(mapped);
    this.#next.push(region.guestAddress + PAGE); // leaves the first page alone
    return mapped;
  }

  /** Plugs in one more region of its own file. */
  add(region: RegionOptions, sealable = true): GuestRegion {
    const descriptor = native.memfd('guest-memory', region.bytes, sealable);
    this.#descriptors.push(descriptor);
    return this.#map(descriptor, 0, region);
  }

  /** Reserves zeroed bytes; default in the last region. Returns the guest address. */
  allocate(bytes: number, alignment = PAGE, region = this.regions.length - 1): number {
    const at = Math.ceil(this.#next[region] / alignment) * alignment;
    const { at: start, length } = this.regions[region];
    if (at + bytes > start + length) throw new Error(`guest memory is full: ${bytes} bytes wanted`);
    this.#next[region] = at + bytes;
    this.bytes(at, bytes).fill(0);
    return at;
  }

  region(address: number): GuestRegion {
    for (const region of this.regions) {
      if (address >= region.at && address < region.at + region.length) return region;
    }
    throw new Error(`no guest memory at 0x${address.toString(16)}`);
  }

  /** The guest's bytes at an address, in place; they must lie in one region. */
  bytes(address: number, length: number): Buffer {
    const region = this.region(address);
    const from = address - region.at;
    if (from + length > region.length) throw new Error('range leaves its region');
    return region.bytes.subarray(from, from + length);
  }

  /** User address of a guest address, for SET_VRING_ADDR. */
  userAddress(address: number): bigint {
    const region = this.region(address);
    return region.userAddress + BigInt(address - region.at);
  }

  /** A 16-bit cell that is read and written as one. */
  cell(address: number): Uint16Array {
    const bytes = this.bytes(address, 2);
    return new Uint16Array(bytes.buffer, bytes.byteOffset, 1);
  }

  /** A quick digest of all memory, to show that nobody wrote. */
  digest(): string {
    let text = '';
    for (const { bytes } of this.regions) {
      let sum = 0;
      const words = new Int32Array(bytes.buffer, bytes.byteOffset, bytes.length >> 2);
      for (let i = 0; i < words.length; i++) sum = (Math.imul(sum, 31) + words[i]) | 0;
      text += `${sum};`;
    }
    return text;
  }

  close(): void {
    for (const region of this.regions.splice(0)) native.unmapRegion(region.handle);
    for (const descriptor of this.#descriptors.splice(0)) native.closeDescriptor(descriptor);
    this.#next = [];
  }
}
