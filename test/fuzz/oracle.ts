/**
 * What must hold after every turn, whatever the rings said:
 *
 * - no byte of a VM's memory changes outside its used rings and the writable buffers that its input rings offered;
 * - every chain that was taken is given back exactly once, in order, and nothing else is;
 * - a chain costs at most as many steps as its ring has entries;
 * - a datagram is put only into the VM that it was routed to, and is addressed to that VM;
 * - received = delivered + drops + waiting, for each port.
 *
 * The writable buffers are found by a walk of its own over the memory as it was before the turn, more generous than the base's.
 */
import type { Ring } from '../../src/port/ring.ts';
import { type Guest, partsOf, type Region, TABLES } from './guest.ts';

const NEXT = 1;
const WRITE = 2;
const INDIRECT = 4;

export class Violation extends Error {}

interface Before {
  guest: Guest;
  ring: Ring;
  nextAvail: number;
  nextUsed: number;
  wraps: number;
}

export class Oracle {
  readonly #guests: readonly Guest[];
  #before: Before[] = [];
  /** VMs whose buffers overlap their own rings or tables: what they write there is their own business. */
  readonly #aliased = new Set<Guest>();
  /** Chains given back since the start. */
  chains = 0;

  constructor(guests: readonly Guest[]) {
    this.#guests = guests;
  }

  before(): void {
    this.#before = [];
    this.#aliased.clear();
    for (const guest of this.#guests) {
      for (const region of guest.regions) {
        region.memory.copy(region.shadow);
        region.mask.fill(0);
      }
      for (const ring of guest.attachment.rings) {
        if (!ring.usable) continue;
        const { queue } = ring;
        const wraps = queue.format === 'packed' ? queue.availWrap | (queue.usedWrap << 1) : 0;
        this.#before.push({
          guest,
          ring,
          nextAvail: queue.nextAvail,
          nextUsed: queue.nextUsed,
          wraps,
        });
        this.#allowRing(guest, ring);
        if (ring.isInput && ring.enabled) this.#allowBuffers(guest, ring);
      }
    }
  }

  after(): void {
    for (const guest of this.#guests) {
      if (this.#aliased.has(guest)) continue;
      for (const region of guest.regions) checkRegion(guest, region);
    }
    for (const before of this.#before) {
      if (before.ring.queue.format === 'split') this.#checkSplit(before);
      else this.#checkPacked(before);
    }
  }

  // --- where the base may write -------------------------------------------------------------------

  #allowRing(guest: Guest, ring: Ring): void {
    const { descriptors, used } = partsOf(ring.index);
    const { mask } = guest.regions[0];
    if (ring.queue.format === 'split') {
      mask.fill(1, used, used + 6 + 8 * ring.size);
      return;
    }
    mask.fill(1, used, used + 4);
    // Length, id and flags are given back; an address never is.
    for (let entry = 0; entry < ring.size; entry++)
      mask.fill(1, descriptors + entry * 16 + 8, descriptors + entry * 16 + 16);
  }

  #allowBuffers(guest: Guest, ring: Ring): void {
    const { queue, size } = ring;
    const { shadow } = guest.regions[0];
    const { descriptors, avail } = partsOf(ring.index);
    if (queue.format === 'split') {
      // Entries that were seen are taken first, whatever the index says by now; then it is looked at again.
      const more = (shadow.readUInt16LE(avail + 2) - queue.nextAvail - queue.ready) & 0xffff;
      const offered = queue.ready + (more <= size ? more : 0);
      for (let entry = 0; entry < offered; entry++) {
        const place = avail + 4 + ((queue.nextAvail + entry) & (size - 1)) * 2;
        let index = shadow.readUInt16LE(place);
        for (let step = 0; step < size && index < size; step++) {
          const at = descriptors + index * 16;
          const flags = shadow.readUInt16LE(at + 12);
          this.#allowDescriptor(guest, shadow, at, flags, size);
          if ((flags & NEXT) === 0 || (flags & INDIRECT) !== 0) break;
          index = shadow.readUInt16LE(at + 14);
        }
      }
      return;
    }
    let position = queue.nextAvail;
    let wrap = queue.availWrap;
    for (let step = 0; step < size; step++) {
      const at = descriptors + position * 16;
      const flags = shadow.readUInt16LE(at + 14);
      if (((flags >> 7) & 1) !== wrap || ((flags >> 15) & 1) === wrap) break;
      this.#allowDescriptor(guest, shadow, at, flags, size);
      if (++position === size) {
        position = 0;
        wrap ^= 1;
      }
    }
  }

  #allowDescriptor(guest: Guest, table: Buffer, at: number, flags: number, size: number): void {
    if ((flags & INDIRECT) === 0) {
      if ((flags & WRITE) !== 0) this.#allowBuffer(guest, table, at);
      return;
    }
    const address = table.readUInt32LE(at) + table.readUInt32LE(at + 4) * 2 ** 32;
    const length = table.readUInt32LE(at + 8);
    const packed = guest.attachment.rings.some((ring) => ring.queue.format === 'packed');
    // A longer table than the ring is refused as a whole.
    const entries = Math.min(Math.ceil(length / 16), size);
    for (let place = address; place < address + entries * 16; place += 16) {
      let region = guest.region(place);
      if (region === null) return;
      let entry = region.shadow;
      let offset = place - region.guest;
      if (offset + 16 > region.bytes) {
        // Across two regions: put together.
        entry = Buffer.alloc(16);
        for (let byte = 0; byte < 16; byte++) {
          region = guest.region(place + byte);
          if (region === null) return;
          entry[byte] = region.shadow[place + byte - region.guest];
        }
        offset = 0;
      }
      if ((entry.readUInt16LE(offset + (packed ? 14 : 12)) & WRITE) !== 0)
        this.#allowBuffer(guest, entry, offset);
      // The table may lie in a buffer, or in a ring, that is written in this turn.
      if (place < TABLES.start || place + 16 > TABLES.end) this.#aliased.add(guest);
    }
  }

  #allowBuffer(guest: Guest, table: Buffer, at: number): void {
    const high = table.readUInt32LE(at + 4);
    if (high === 0) this.#allow(guest, table.readUInt32LE(at), table.readUInt32LE(at + 8));
  }

  #allow(guest: Guest, address: number, length: number): void {
    const end = address + length;
    for (const region of guest.regions) {
      if (address >= region.guest + region.bytes) continue;
      const from = Math.max(address, region.guest);
      const to = Math.min(end, region.guest + region.bytes);
      if (from >= to) continue;
      region.mask.fill(1, from - region.guest, to - region.guest);
      if (from < TABLES.end) this.#aliased.add(guest);
    }
  }

  // --- what was given back ------------------------------------------------------------------------

  #checkSplit({ guest, ring, nextAvail, nextUsed }: Before): void {
    const { queue } = ring;
    if (queue.format !== 'split') return;
    const taken = (queue.nextAvail - nextAvail) & 0xffff;
    const given = (queue.nextUsed - nextUsed) & 0xffff;
    const name = `ring ${ring.index} of VM ${guest.number}`;
    if (taken !== given) throw new Violation(`${name}: ${taken} chains taken, ${given} given back`);
    if (given > ring.size) throw new Violation(`${name}: ${given} chains of ${ring.size}`);
    this.chains += given;
    if (this.#aliased.has(guest)) return;
    const { memory, shadow } = guest.regions[0];
    const { avail, used } = partsOf(ring.index);
    const mask = ring.size - 1;
    if (memory.readUInt16LE(used + 2) !== queue.nextUsed && given > 0)
      throw new Violation(`${name}: the used index is not shown`);
    for (let entry = 0; entry < given; entry++) {
      const head = shadow.readUInt16LE(avail + 4 + ((nextAvail + entry) & mask) * 2);
      const element = used + 4 + ((nextUsed + entry) & mask) * 8;
      if (memory.readUInt32LE(element) !== head)
        throw new Violation(`${name}: ${memory.readUInt32LE(element)} given back for ${head}`);
      checkLength(name, ring, memory.readUInt32LE(element + 4));
    }
  }

  #checkPacked({ guest, ring, nextAvail, nextUsed, wraps }: Before): void {
    const { queue } = ring;
    if (queue.format !== 'packed') return;
    const name = `ring ${ring.index} of VM ${guest.number}`;
    const moved = (now: number, then: number, wrapped: boolean) =>
      now - then + (wrapped ? ring.size : 0);
    const taken = moved(queue.nextAvail, nextAvail, queue.availWrap !== (wraps & 1));
    const given = moved(queue.nextUsed, nextUsed, queue.usedWrap !== wraps >> 1);
    if (taken !== given || taken < 0)
      throw new Violation(`${name}: ${taken} descriptors taken, ${given} given back`);
    // A ring into which the turn's datagrams are written may have been filled anew by them, as by a driver that goes on meanwhile.
    if (this.#aliased.has(guest)) return;
    if (taken > ring.size) throw new Violation(`${name}: ${taken} descriptors of ${ring.size}`);
    const { memory, shadow } = guest.regions[0];
    const { descriptors } = partsOf(ring.index);
    // Each chain: its id from its last descriptor, in the place of its first.
    for (let left = taken, position = nextUsed, wrap = wraps >> 1; left > 0; ) {
      const first = descriptors + position * 16;
      let at = first;
      for (;;) {
        at = descriptors + position * 16;
        left--;
        if (++position === ring.size) position = 0;
        if ((shadow.readUInt16LE(at + 14) & NEXT) === 0) break;
        if (left === 0) throw new Violation(`${name}: part of a chain given back`);
      }
      const flags = memory.readUInt16LE(first + 14);
      if (memory.readUInt16LE(first + 12) !== shadow.readUInt16LE(at + 12))
        throw new Violation(`${name}: another id given back`);
      if (((flags >> 7) & 1) !== wrap || ((flags >> 15) & 1) !== wrap)
        throw new Violation(`${name}: a used descriptor without its mark`);
      checkLength(name, ring, memory.readUInt32LE(first + 8));
      this.chains++;
      if (at < first || position === 0) wrap ^= 1;
    }
  }
}

function checkLength(name: string, ring: Ring, length: number): void {
  if (ring.isInput ? length <= 65_562 : length === 0) return;
  throw new Violation(`${name}: used with length ${length}`);
}

function checkRegion(guest: Guest, { guest: start, memory, shadow, mask }: Region): void {
  if (memory.equals(shadow)) return;
  const now = new Int32Array(memory.buffer, memory.byteOffset, memory.length / 4);
  const then = new Int32Array(shadow.buffer, shadow.byteOffset, shadow.length / 4);
  for (let word = 0; word < now.length; word++) {
    if (now[word] === then[word]) continue;
    for (let byte = word * 4; byte < word * 4 + 4; byte++) {
      if (memory[byte] === shadow[byte] || mask[byte] === 1) continue;
      const at = (start + byte).toString(16);
      throw new Violation(`VM ${guest.number}: byte ${at} changed, which was nobody's to write`);
    }
  }
}
