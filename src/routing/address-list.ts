/**
 * The address list: which port owns which IPv4 address of a network. Open addressing in typed arrays, never more than a quarter
 * full, so that nearly all are found at the first places, keyed by the address as it is read from the wire; the hash is seeded, as
 * guests choose the keys that are looked up. Changed between turns only, by the control plane.
 */
import { hashOf } from '../wire/ipv4-address.ts';

export const NOBODY = -1;

/** The owner at a place without a key: what `find` answers there. */
const EMPTY = NOBODY;

export class AddressList {
  /**
   * The table, for the router's own loop (see `wordOf` and `hashOf`): a key and its owner at each place, so that a look-up takes one line
   * of the cache.
   */
  table: Int32Array;
  /** Of places, which are a power of two. */
  mask: number;
  readonly seed: number;
  size = 0;

  constructor(capacity = 8, seed = (Math.random() * 0xffffffff) | 0) {
    let places = 16;
    while (places < capacity * 4) places *= 2;
    this.table = emptyTable(places);
    this.mask = places - 1;
    this.seed = seed;
  }

  /** The port that owns the address, or NOBODY. */
  find(key: number): number {
    return this.table[this.wordOf(key) + 1];
  }

  /** Gives an address to a port (>= 0), or to another one. */
  set(key: number, owner: number): void {
    if ((this.size + 1) * 4 > this.mask + 1) this.grow();
    const word = this.wordOf(key);
    if (this.table[word + 1] === EMPTY) this.size++;
    this.table[word] = key;
    this.table[word + 1] = owner;
  }

  /** All addresses. */
  *entries(): IterableIterator<[key: number, owner: number]> {
    const { table } = this;
    for (let at = 0; at < table.length; at += 2) {
      if (table[at + 1] !== EMPTY) yield [table[at], table[at + 1]];
    }
  }

  /** First word of the place where the key is, or would be. */
  private wordOf(key: number): number {
    const { table, mask } = this;
    let place = hashOf(key, this.seed) & mask;
    while (table[place * 2 + 1] !== EMPTY && table[place * 2] !== key) place = (place + 1) & mask;
    return place * 2;
  }

  private grow(): void {
    const before = this.table;
    this.table = emptyTable(before.length);
    this.mask = before.length - 1;
    this.size = 0;
    for (let at = 0; at < before.length; at += 2) {
      if (before[at + 1] !== EMPTY) this.set(before[at], before[at + 1]);
    }
  }
}

function emptyTable(places: number): Int32Array {
  const table = new Int32Array(places * 2);
  for (let at = 1; at < table.length; at += 2) table[at] = EMPTY;
  return table;
}
