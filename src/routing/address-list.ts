/**
 * The address list: which port owns which IPv4 address of a network. Open addressing in typed arrays, never more than a quarter
 * full, so that nearly all are found at the first places, keyed by the address as it is read from the wire; the hash is seeded, as
 * guests choose the keys that are looked up. Changed between turns only, by the control plane.
 */
export const NOBODY = -1;

const EMPTY = -1;

export class AddressList {
  /** The table, for the router's own loop (see `find` and `hash`). */
  keys: Int32Array;
  owners: Int32Array;
  mask: number;
  readonly seed: number;
  size = 0;

  constructor(capacity = 8, seed = (Math.random() * 0xffffffff) | 0) {
    let slots = 16;
    while (slots < capacity * 4) slots *= 2;
    this.keys = new Int32Array(slots);
    this.owners = new Int32Array(slots).fill(EMPTY);
    this.mask = slots - 1;
    this.seed = seed;
  }

  /** The port that owns the address, or NOBODY. */
  find(key: number): number {
    const { keys, owners, mask } = this;
    let slot = hash(key, this.seed) & mask;
    for (;;) {
      const owner = owners[slot];
      if (owner === EMPTY || keys[slot] === key) return owner;
      slot = (slot + 1) & mask;
    }
  }

  /** Gives an address to a port (>= 0), or to another one. */
  set(key: number, owner: number): void {
    if ((this.size + 1) * 4 > this.keys.length) this.grow();
    let slot = hash(key, this.seed) & this.mask;
    while (this.owners[slot] !== EMPTY && this.keys[slot] !== key) slot = (slot + 1) & this.mask;
    if (this.owners[slot] === EMPTY) this.size++;
    this.keys[slot] = key;
    this.owners[slot] = owner;
  }

  /** All addresses. */
  *entries(): IterableIterator<[key: number, owner: number]> {
    for (let slot = 0; slot < this.keys.length; slot++) {
      if (this.owners[slot] !== EMPTY) yield [this.keys[slot], this.owners[slot]];
    }
  }

  private grow(): void {
    const { keys, owners } = this;
    this.keys = new Int32Array(keys.length * 2);
    this.owners = new Int32Array(keys.length * 2).fill(EMPTY);
    this.mask = this.keys.length - 1;
    this.size = 0;
    for (let slot = 0; slot < keys.length; slot++) {
      if (owners[slot] !== EMPTY) this.set(keys[slot], owners[slot]);
    }
  }
}

function hash(key: number, seed: number): number {
  let h = Math.imul(key ^ seed, 0x9e3779b1);
  h ^= h >>> 15;
  h = Math.imul(h, 0x85ebca6b);
  return h ^ (h >>> 13);
}
