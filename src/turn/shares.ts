/**
 * How much of a turn is whose. Normally a port may fill its whole budget: long turns are cheap ones. But a datagram waits for the turn that is
 * under way and for its own, so while some VM sends little at a time (it is light), those that bring much (they are heavy) bring less
 * per turn, and have to let it pass every other turn (gather.ts). Nothing is dropped by this: it waits in its ring.
 */
import { type Attachment, MAX_PAIRS } from '../port/attachment.ts';
import type { Budget } from '../port/output.ts';
import type { Port } from '../port/port.ts';

/** What a heavy port may bring while a light one is about: some microseconds of work. */
const SHORT: Budget = { datagrams: 8, descriptors: 64, bytes: 32 << 10 };
/** What each adapter may, which stands for a whole LAN, and each other worker, which stands for its VMs. */
const SHORT_LAN: Budget = { datagrams: 32, descriptors: 0, bytes: 64 << 10 };
/** A port is heavy that brought as much as this into one turn, or had more than it was allowed to bring. */
const HEAVY_DATAGRAMS = 64;
const HEAVY_BYTES = 128 << 10;
/** A port is light that brought no more than this, so many times running. */
const LIGHT_DATAGRAMS = 4;
const LIGHT_TIMES = 4;
/** Milliseconds for which a light port counts after it has sent something. */
const LIGHT_FOR = 10;

export class Shares {
  /** A port's budget for each of its rings, by how many it has. */
  private readonly full: Budget[];
  private readonly short: Budget[];
  private readonly whole: Budget;
  private readonly time: Float64Array;
  /** When a light port last sent something. */
  private readonly lightAt = new Float64Array([Number.NEGATIVE_INFINITY]);

  constructor(budget: Budget, time: Float64Array) {
    this.whole = budget;
    this.full = perRing(budget);
    this.short = perRing({
      datagrams: Math.min(SHORT.datagrams, budget.datagrams),
      descriptors: Math.min(SHORT.descriptors, budget.descriptors),
      bytes: Math.min(SHORT.bytes, budget.bytes),
    });
    this.time = time;
  }

  /** Some VM sends little at a time: turns are to be short. */
  get hurry(): boolean {
    return this.time[0] - this.lightAt[0] < LIGHT_FOR;
  }

  /** For each of the port's `rings` output rings. */
  budget(port: Port, rings: number, hurry: boolean): Budget {
    return hurry && port.heavy ? this.short[rings] : this.full[rings];
  }

  /** For each adapter, and each other worker. */
  lan(): Budget {
    return this.hurry ? SHORT_LAN : this.whole;
  }

  /** What a port brought decides what it may bring next: `taken` chains, `bytes` of base storage. */
  weigh(port: Port, attachment: Attachment, taken: number, bytes: number): void {
    if (taken >= HEAVY_DATAGRAMS || bytes >= HEAVY_BYTES || hasMore(attachment)) {
      port.heavy = true;
      port.lightTimes = 0;
      return;
    }
    port.heavy = false;
    if (taken > LIGHT_DATAGRAMS) port.lightTimes = 0;
    else if (port.lightTimes < LIGHT_TIMES) port.lightTimes++;
    else this.lightAt[0] = this.time[0];
  }
}

function hasMore(attachment: Attachment): boolean {
  const { outputs } = attachment;
  for (let index = 0; index < outputs.length; index++)
    if (outputs[index].queue.mayHaveWork()) return true;
  return false;
}

function perRing({ datagrams, descriptors, bytes }: Budget): Budget[] {
  return Array.from({ length: MAX_PAIRS + 1 }, (_, rings) => {
    const share = Math.max(1, rings);
    return {
      datagrams: Math.ceil(datagrams / share),
      descriptors: Math.ceil(descriptors / share),
      bytes: Math.ceil(bytes / share),
    };
  });
}
