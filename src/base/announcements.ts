/**
 * Which VMs the LAN must be told of. A front-end can make its VM appear with every message: each VM is announced at most every
 * INTERVAL, and what was wished meanwhile once more at its end, so that the last wish counts.
 */
type Milliseconds = number;

const INTERVAL: Milliseconds = 200;

export class Announcements {
  /** By VM: when it may be announced again. */
  private readonly after: Float64Array;
  private readonly wished = new Set<number>();
  private readonly due: (time: Milliseconds) => void;
  private readonly say: (vm: number) => void;

  /** `due`: `tick` is to be called by then. `say` announces all addresses of a VM. */
  constructor(vms: number, due: (time: Milliseconds) => void, say: (vm: number) => void) {
    this.after = new Float64Array(vms).fill(Number.NEGATIVE_INFINITY);
    this.due = due;
    this.say = say;
  }

  /** The VM appeared, or moved. */
  wish(vm: number, now: Milliseconds): void {
    this.wished.add(vm);
    if (now >= this.after[vm]) this.announce(vm, now);
    else this.due(this.after[vm]);
  }

  /** Says what is due; when it wants to be called again. */
  tick(now: Milliseconds): Milliseconds {
    let next = Number.POSITIVE_INFINITY;
    for (const vm of this.wished) {
      if (now >= this.after[vm]) this.announce(vm, now);
      else next = Math.min(next, this.after[vm]);
    }
    return next;
  }

  private announce(vm: number, now: Milliseconds): void {
    this.wished.delete(vm);
    this.after[vm] = now + INTERVAL;
    this.say(vm);
  }
}
