/**
 * Room that all senders share, so that one that fills what it can does not keep the others out: beyond `forAll` only who has less there than is
 * still free may take more. Counts only; where things lie is for whoever put them there to know.
 */
export class SharedRoom {
  /** How much is taken, by all. */
  used = 0;
  /** How much may be taken in all before what is left is shared out; one sender alone may take this much. */
  readonly forAll: number;
  private readonly size: number;
  /** By sender (`from` + 1): how much is its. */
  private readonly shares: Int32Array;

  /** `size` in whatever is counted (frames, bytes). Senders are -1 (the base) to `senders` - 1. */
  constructor(size: number, forAll: number, senders: number) {
    this.size = size;
    this.forAll = forAll;
    this.shares = new Int32Array(senders + 1);
  }

  /** Whether `from` may take so much more. */
  mayTake(from: number, amount: number): boolean {
    const used = this.used + amount;
    return used <= this.forAll || this.shares[from + 1] + used <= this.size;
  }

  /** How much of it is `from`'s. */
  shareOf(from: number): number {
    return this.shares[from + 1];
  }

  /** `from` has taken so much more, which `mayTake` allowed. */
  take(from: number, amount: number): void {
    this.used += amount;
    this.shares[from + 1] += amount;
  }

  /** So much of `from`'s is free again. */
  give(from: number, amount: number): void {
    this.used -= amount;
    this.shares[from + 1] -= amount;
  }
}
