/**
 * A front-end's memory: regions of guest-physical addresses, mapped here. Guest addresses are translated here and nowhere else, but for the hot
 * loops of `port/`, which do the same within the region of the last hit. Descriptors hold guest-physical addresses, SET_VRING_ADDR holds the
 * front-end's own (user) addresses.
 *
 * Addresses are doubles: exact below 2^53, and nothing above is ever mapped. What the guest wrote as two 32-bit
 * words is put together unsigned; a high word of 2^21 or more is outside every region by construction.
 */
import type { Native } from '../native.ts';

/** Where a region lies: its guest-physical address, the front-end's own (user) address of it, and its length. */
export interface Placement {
  guest: number;
  user: number;
  bytes: number;
}

/** One region as SET_MEM_TABLE or ADD_MEM_REG described it, mapped: `handle` is the addon's. */
export interface Region extends Placement {
  handle: number;
}

/** True when two regions share a guest address, or a user address. */
export function overlap(a: Placement, b: Placement): boolean {
  return (
    (a.guest < b.guest + b.bytes && b.guest < a.guest + a.bytes) ||
    (a.user < b.user + b.bytes && b.user < a.user + a.bytes)
  );
}

export class GuestMemory {
  /** Sorted by guest address; columns so that a look-up touches nothing else. */
  starts = new Float64Array(0);
  ends = new Float64Array(0);
  handles = new Int32Array(0);
  count = 0;
  /** Region of the last hit: almost always the next one, too. */
  last = 0;

  regions: Region[] = [];
  private readonly native: Native;

  constructor(native: Native) {
    this.native = native;
  }

  /** Bytes in all. */
  get bytes(): number {
    return this.regions.reduce((sum, region) => sum + region.bytes, 0);
  }

  /** Takes ownership of a mapped region's handle. The caller has checked overlaps. */
  add(region: Region): void {
    this.regions.push(region);
    this.index();
  }

  /** Unmaps one region. */
  remove(region: Region): void {
    this.regions = this.regions.filter((other) => other !== region);
    this.index();
    this.native.unmapRegion(region.handle);
  }

  /** Exchanges all regions: the new ones are mapped already, the old ones are unmapped now. */
  replace(regions: Region[]): void {
    const old = this.regions;
    this.regions = regions;
    this.index();
    for (const region of old) this.native.unmapRegion(region.handle);
  }

  /** Unmaps everything. */
  clear(): void {
    this.replace([]);
  }

  /** Whether a region at this place would overlap one that is there. */
  overlaps(placement: Placement): boolean {
    return this.regions.some((region) => overlap(region, placement));
  }

  /**
   * Index of the region that holds all of [address, address + length), or -1. Hot: called once per descriptor.
   */
  find(address: number, length: number): number {
    const index = this.holding(address);
    return index < 0 || address + length > this.ends[index] ? -1 : index;
  }

  /**
   * Index of the region that holds `address`, or -1: the start of a range that may go on in the next region. The one that is found becomes
   * `last`, where the plain loops of `port/` look from then on.
   */
  holding(address: number): number {
    const { last } = this;
    if (last < this.count && address >= this.starts[last] && address < this.ends[last]) return last;
    let low = 0;
    let high = this.count - 1;
    while (low <= high) {
      const middle = (low + high) >> 1;
      if (address < this.starts[middle]) high = middle - 1;
      else if (address >= this.ends[middle]) low = middle + 1;
      else {
        this.last = middle;
        return middle;
      }
    }
    return -1;
  }

  /** Translates a front-end user address: the region and the offset inside it, or undefined if not wholly inside one. */
  fromUser(address: number, length: number): { region: Region; offset: number } | undefined {
    const region = this.regions.find(
      (candidate) =>
        address >= candidate.user && address + length <= candidate.user + candidate.bytes,
    );
    return region && { region, offset: address - region.user };
  }

  private index(): void {
    this.regions.sort((a, b) => a.guest - b.guest);
    this.count = this.regions.length;
    this.starts = Float64Array.from(this.regions, (region) => region.guest);
    this.ends = Float64Array.from(this.regions, (region) => region.guest + region.bytes);
    this.handles = Int32Array.from(this.regions, (region) => region.handle);
    this.last = 0;
  }
}
