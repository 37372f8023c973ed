/**
 * The fuzzer's driver of one ring: makes chains available, most of them as a good driver would, some with a descriptor, a table, a
 * head or an index that is a lie. Splits and packed rings alike; everything is drawn from the case's random numbers.
 */
import type { Ring } from '../../src/port/ring.ts';
import type { Random } from '../support/random.ts';
import { PLAIN_PACKETS } from './frames.ts';
import { type Guest, partsOf, READ_BUFFERS, TABLES, WRITE_BUFFERS } from './guest.ts';

const NEXT = 1;
const WRITE = 2;
const INDIRECT = 4;
const LONGEST_CHAIN = 96;

/** How often lies are told: chances per chain (or per batch for the indices). */
export interface Temper {
  content: number;
  descriptor: number;
  index: number;
  indirect: number;
}

export class Driver {
  readonly ring: Ring;
  readonly #guest: Guest;
  readonly #random: Random;
  readonly #temper: Temper;
  readonly #packets: readonly Buffer[];
  readonly #headerBytes: number;
  readonly #at: { descriptors: number; avail: number; used: number };
  /** Bytes of the datagram that is being sent, and descriptors (four words each) of its chain. */
  readonly #bytes = Buffer.alloc(70_000);
  readonly #words = new Int32Array(4 * (LONGEST_CHAIN + 1));
  #count = 0;
  #buffer: number;
  #table = TABLES.start;
  #slot = 0;
  /** Split: descriptors of each chain that is out, oldest first. */
  readonly #out: number[] = [];
  /** Split: the avail index. Packed: position and wrap bit. */
  #next: number;
  #wrap = 1;

  constructor(
    guest: Guest,
    ring: Ring,
    random: Random,
    temper: Temper,
    packets: readonly Buffer[],
    headerBytes: number,
  ) {
    this.ring = ring;
    this.#guest = guest;
    this.#random = random;
    this.#temper = temper;
    this.#packets = packets;
    this.#headerBytes = headerBytes;
    this.#at = partsOf(ring.index);
    this.#buffer = (ring.isInput ? WRITE_BUFFERS : READ_BUFFERS).start;
    this.#next = ring.queue.nextAvail;
    if (ring.queue.format === 'packed') this.#wrap = ring.queue.availWrap;
  }

  /** Entries (split) or descriptors (packed) that are made available and not taken. */
  get outstanding(): number {
    const { queue } = this.ring;
    if (queue.format === 'split') return (this.#next - queue.nextAvail) & 0xffff;
    const around = this.#wrap === queue.availWrap ? 0 : queue.size;
    return this.#next - queue.nextAvail + around;
  }

  /** Makes up to `chains` chains available. */
  add(chains: number): void {
    const random = this.#random;
    for (let left = chains; left > 0; left--) {
      this.#count = 0;
      if (this.ring.isInput) this.#makeInput();
      else this.#makeOutput();
      if (random.chance(this.#temper.indirect)) this.#moveToTable();
      if (random.chance(this.#temper.descriptor)) this.#spoil(random.below(this.#count));
      if (this.ring.queue.format === 'split') {
        if (!this.#hasRoom()) break;
        this.#putSplit();
      } else {
        if (this.outstanding + this.#count > this.ring.size) break;
        this.#putPacked();
      }
    }
    if (this.ring.queue.format === 'split') this.#publish();
    if (random.chance(0.3)) this.#wish();
  }

  // --- what a chain is ----------------------------------------------------------------------------

  #makeOutput(): void {
    const random = this.#random;
    const plain = random.chance(0.7);
    const packet = this.#packets[random.below(plain ? PLAIN_PACKETS : this.#packets.length)];
    const skip = 12 - this.#headerBytes; // a legacy header lacks the last two bytes
    packet.copy(this.#bytes, 0, 0, this.#headerBytes);
    packet.copy(this.#bytes, this.#headerBytes, this.#headerBytes + skip);
    let length = packet.length - skip;
    if (random.chance(this.#temper.content)) {
      for (let left = random.between(1, 3); left > 0; left--)
        this.#bytes[random.below(80)] = random.word() & 0xff;
      if (random.chance(0.3)) length = random.below(Math.min(length, 80) + 1);
    }
    const start = this.#cut(length, 0, READ_BUFFERS);
    this.#guest.write(start, this.#bytes, 0, length);
  }

  #makeInput(): void {
    const random = this.#random;
    const style = random.below(8);
    const length =
      style < 4
        ? 1600
        : style < 6
          ? random.between(60, 4096)
          : style === 6
            ? random.below(64)
            : random.between(20_000, 65_600);
    this.#cut(length, WRITE, WRITE_BUFFERS);
  }

  /** Spreads `length` bytes over buffers that follow each other; returns where the first one is. */
  #cut(length: number, flags: number, area: { start: number; end: number }): number {
    const random = this.#random;
    const most = Math.min(this.ring.size, LONGEST_CHAIN);
    const style = random.below(8);
    if (this.#buffer + length > area.end) this.#buffer = area.start + random.below(64);
    const start = this.#buffer;
    const pieces = Math.min(most, style < 5 ? 1 : style < 7 ? random.between(1, 6) : most);
    let at = 0;
    while (this.#count < pieces - 1 && at < length) {
      const part =
        style === 7
          ? random.below(17)
          : random.chance(0.3)
            ? this.#headerBytes
            : random.below(length);
      const bytes = Math.min(part, length - at);
      this.#push(start + at, bytes, flags);
      at += bytes;
    }
    this.#push(start + at, length - at, flags);
    this.#buffer = start + ((length + 63) & -64);
    return start;
  }

  #push(address: number, length: number, flags: number): void {
    const word = this.#count++ * 4;
    this.#words[word] = address;
    this.#words[word + 1] = 0;
    this.#words[word + 2] = length;
    this.#words[word + 3] = flags;
  }

  /** The chain, or all but its first descriptor, becomes an indirect table. */
  #moveToTable(): void {
    const random = this.#random;
    const packed = this.ring.queue.format === 'packed';
    const first = !packed && this.#count > 1 && random.chance(0.2) ? 1 : 0;
    const entries = this.#count - first;
    if (this.#table + entries * 16 > TABLES.end) this.#table = TABLES.start;
    if (random.chance(this.#temper.descriptor)) this.#spoil(first + random.below(entries));
    for (let index = 0; index < entries; index++) {
      const word = (first + index) * 4;
      const last = index === entries - 1;
      let flags = this.#words[word + 3] & 0xffff;
      let next = index + 1;
      if (!packed && !last) flags |= NEXT;
      if (random.chance(this.#temper.descriptor / 8)) next = random.below(entries * 2);
      this.#guest.descriptor(
        this.#table + index * 16,
        this.#words[word],
        this.#words[word + 1],
        this.#words[word + 2],
        flags | (next << 16),
      );
    }
    this.#count = first;
    let length = entries * 16;
    if (random.chance(this.#temper.descriptor))
      length = random.pick([0, 1, 8, 24, length + 16, 16 * 65536, 0xfffffff0, length + 8]);
    this.#push(this.#table, length, INDIRECT | (random.chance(0.1) ? WRITE : 0));
    this.#table += entries * 16;
  }

  /** One descriptor becomes a lie. */
  #spoil(index: number): void {
    const random = this.#random;
    const word = index * 4;
    switch (random.below(5)) {
      case 0:
        this.#words[word] = random.pick([
          0,
          0x10000 - 8,
          0x20000 - 8,
          0xc0000,
          0x110000 - 1,
          0x108000 - 4,
          -1,
          random.word() | 0,
          this.#at.used,
          this.#at.descriptors,
          TABLES.start,
        ]);
        break;
      case 1:
        this.#words[word + 1] = random.pick([-1, 1, 1 << 21, 0x7fffffff, random.word() | 0]);
        break;
      case 2:
        this.#words[word + 2] = random.pick([
          0,
          1,
          11,
          12,
          13,
          0x10000,
          0x20000,
          65_563,
          -1,
          0x7fffffff,
          -0x80000000,
          random.word() | 0,
        ]);
        break;
      default:
        this.#words[word + 3] ^= random.pick([
          NEXT,
          WRITE,
          INDIRECT,
          7,
          0x10,
          random.word() & 0xffff,
        ]);
    }
  }

  // --- how it is made available -------------------------------------------------------------------

  /** Split: the descriptors of chains that are out are left alone, as a driver does. */
  #hasRoom(): boolean {
    const { outstanding } = this;
    const { size } = this.ring;
    while (this.#out.length > outstanding) this.#out.shift();
    const descriptors = this.#out.reduce((sum, count) => sum + count, 0);
    return outstanding < size && descriptors + this.#count <= size;
  }

  #putSplit(): void {
    const random = this.#random;
    const { size } = this.ring;
    const head = this.#slot % size;
    for (let index = 0; index < this.#count; index++) {
      const word = index * 4;
      const slot = this.#slot++ % size;
      let flags = this.#words[word + 3] & 0xffff;
      let next = this.#slot % size;
      if (index < this.#count - 1) flags |= NEXT;
      if (random.chance(this.#temper.descriptor / 8)) next = random.below(size * 2);
      this.#guest.descriptor(
        this.#at.descriptors + slot * 16,
        this.#words[word],
        this.#words[word + 1],
        this.#words[word + 2],
        flags | (next << 16),
      );
    }
    const lie = random.chance(this.#temper.index / 8);
    const entry = this.#at.avail + 4 + (this.#next % size) * 2;
    this.#half(entry, lie ? random.pick([size, 0xffff, random.below(size), size * 2]) : head);
    this.#next = (this.#next + 1) & 0xffff;
    this.#out.push(this.#count);
  }

  #publish(): void {
    if (this.#random.chance(this.#temper.index / 8)) {
      const jump = this.#random.pick([-1, 1000, 0x8000, this.ring.size + 1]);
      this.#next = (this.#next + jump) & 0xffff;
    }
    this.#half(this.#at.avail + 2, this.#next);
  }

  #putPacked(): void {
    const random = this.#random;
    const { size } = this.ring;
    const id = random.chance(this.#temper.index) ? random.word() & 0xffff : random.below(size);
    for (let index = 0; index < this.#count; index++) {
      const word = index * 4;
      let flags = this.#words[word + 3] & 0xffff & ~0x8080;
      flags |= this.#wrap === 1 ? 0x80 : 0x8000;
      if (index < this.#count - 1) flags |= NEXT;
      if (random.chance(this.#temper.index / 8)) flags ^= random.pick([0x80, 0x8000, 0x8080]);
      this.#guest.descriptor(
        this.#at.descriptors + this.#next * 16,
        this.#words[word],
        this.#words[word + 1],
        this.#words[word + 2],
        id | (flags << 16),
      );
      if (++this.#next === size) {
        this.#next = 0;
        this.#wrap ^= 1;
      }
    }
  }

  /** Says at random when it wants to be notified. */
  #wish(): void {
    const { size, queue } = this.ring;
    this.#half(this.#at.avail, this.#random.word() & 0xffff & (queue.format === 'split' ? 1 : -1));
    const event = queue.format === 'split' ? this.#at.avail + 4 + size * 2 : this.#at.avail + 2;
    this.#half(event, this.#random.word() & 0xffff);
  }

  #half(at: number, value: number): void {
    this.#guest.regions[0].memory.writeUInt16LE(value & 0xffff, at);
  }
}
