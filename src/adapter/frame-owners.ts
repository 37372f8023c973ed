/**
 * Whose the frames of a transmit ring are while they are on their way, so that a VM that sends more than the interface carries does not
 * fill the ring for all: its last eighth is for those who have fewer frames there than are still free.
 */

/** Of the ring, for those who have little there. */
const KEPT = 1 / 8;

export class FrameOwners {
  /** Frames that anyone may fill, one sender alone, too. */
  readonly forAll: number;
  private readonly frames: number;
  /** By frame: its sender. */
  private readonly owners: Int32Array;
  /** By sender (`from` + 1): how many frames are its. */
  private readonly counts: Int32Array;

  /** Senders are -1 (the base) to `senders` - 1. */
  constructor(frames: number, senders: number) {
    this.frames = frames;
    this.forAll = Math.ceil(frames * (1 - KEPT));
    this.owners = new Int32Array(frames);
    this.counts = new Int32Array(senders + 1);
  }

  /** Whether `from` may fill one more, where `used` frames are on their way. */
  mayTake(from: number, used: number): boolean {
    return used < this.forAll || this.counts[from + 1] < this.frames - used;
  }

  take(frame: number, from: number): void {
    this.owners[frame] = from;
    this.counts[from + 1]++;
  }

  give(frame: number): void {
    this.counts[this.owners[frame] + 1]--;
  }

  /** What is in one frame moves to another one, whose content was given up. */
  move(from: number, to: number): void {
    this.owners[to] = this.owners[from];
  }
}
