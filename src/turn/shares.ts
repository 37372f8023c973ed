/**
 * How much of a turn is whose, so that a VM that sends all it can leaves the others what they need. Nothing is dropped by this: what
 * can't be taken now waits in its ring.
 *
 * A VM that fills its budget turn after turn (it is greedy) is given half of it: then one that asks for less gets what it asks for,
 * though all this may be half of what we can do. Greedy ones share alike.
 *
 * And a datagram waits for the turn that is under way and for its own, so while some VM sends little at a time (it is light), all that
 * bring more (they are heavy) bring much less per turn, and have to let it pass every other turn (gather.ts). What counts for this is
 * what a port brings in a span of time, not in a turn: turns are short when there is little to do, and a VM that sends millions of
 * datagrams in a second then brings few into each.
 */
import { MAX_PAIRS } from '../plan.ts';
import type { Budget } from '../port/output.ts';
import type { Port } from '../port/port.ts';

/** What a heavy port may bring while a light one is about: some microseconds of work. */
const SHORT: Budget = { datagrams: 8, descriptors: 64, bytes: 32 << 10, shift: 1 };
/** What each adapter may, which stands for a whole LAN, and each other worker, which stands for its VMs. */
const SHORT_OF_MANY: Budget = { datagrams: 32, descriptors: 0, bytes: 64 << 10, shift: 0 };
/** Milliseconds over which a port's datagrams are counted. */
const SPAN = 0.1;
/** A port is heavy that brings more than this in one span, until it has brought less in one. */
const LIGHT = { datagrams: 64, descriptors: 128, bytes: 128 << 10 };
/** Milliseconds for which a light port counts after it has sent something. */
const LIGHT_FOR = 10;

/** A port is greedy that has filled its budget so many turns running; some turns later it is asked again, with the whole budget. */
const GREEDY_AFTER = 4;
const ASKED_AFTER = 64;

/** What a port has brought since its span began. */
const DATAGRAMS = 0;
const DESCRIPTORS = 1;
const BYTES = 2;
const CELLS = 3;

export class Shares {
  /** A port's budget for each of its rings, by how many it has. */
  private readonly full: Budget[];
  private readonly half: Budget[];
  private readonly short: Budget[];
  private readonly whole: Budget;
  private readonly time: Float64Array;
  /** By port: when its span began, and what it has brought since. */
  private readonly began: Float64Array;
  private readonly brought: Int32Array;
  /** When a light port last sent something, and which. */
  private lightPort = -1;
  private readonly lightAt = new Float64Array([Number.NEGATIVE_INFINITY]);

  constructor(budget: Budget, time: Float64Array, ports: number) {
    this.whole = budget;
    this.full = perRing(budget);
    this.half = perRing({
      datagrams: budget.datagrams / 2,
      descriptors: budget.descriptors / 2,
      bytes: budget.bytes / 2,
      shift: budget.shift + 1,
    });
    this.short = perRing({
      datagrams: Math.min(SHORT.datagrams, budget.datagrams),
      descriptors: Math.min(SHORT.descriptors, budget.descriptors),
      bytes: Math.min(SHORT.bytes, budget.bytes),
      shift: SHORT.shift,
    });
    this.time = time;
    this.began = new Float64Array(ports).fill(Number.NEGATIVE_INFINITY);
    this.brought = new Int32Array(ports * CELLS);
  }

  /** Some VM sends little at a time: turns are to be short. */
  get hurry(): boolean {
    return this.time[0] - this.lightAt[0] < LIGHT_FOR;
  }

  /** For each of the port's `rings` output rings. */
  budget(port: Port, rings: number, hurry: boolean): Budget {
    if (hurry && port.heavy) return this.short[rings];
    return port.filledTimes >= GREEDY_AFTER ? this.half[rings] : this.full[rings];
  }

  /** For each adapter, and each other worker: they stand for many. */
  ofMany(): Budget {
    return this.hurry ? SHORT_OF_MANY : this.whole;
  }

  /**
   * What a port brought decides what it may bring next: so many chains of so many descriptors in all, `bytes` of base storage; `filled`: all
   * that one of its rings was allowed. What became of its datagrams in the turn before counts as well: one chain may be a hundred segments.
   */
  weigh(port: Port, chains: number, descriptors: number, bytes: number, filled: boolean): void {
    if (!filled || ++port.filledTimes === ASKED_AFTER) port.filledTimes = 0;
    const { began, brought } = this;
    const now = this.time[0];
    const at = port.number * CELLS;
    if (now - began[port.number] >= SPAN) {
      // However long ago: who brought too much in its last span has to show first that it does no longer.
      port.heavy = this.tooMuch(at);
      began[port.number] = now;
      // Not by fill(): a call into V8's C++, which a base that was just woken waits for ten microseconds.
      brought[at + DATAGRAMS] = 0;
      brought[at + DESCRIPTORS] = 0;
      brought[at + BYTES] = 0;
    }
    // Who was cut short would have brought more.
    brought[at + DATAGRAMS] +=
      port.made + (filled ? Math.max(chains, LIGHT.datagrams + 1) : chains);
    port.made = 0;
    brought[at + DESCRIPTORS] += descriptors;
    brought[at + BYTES] += bytes;
    if (this.tooMuch(at)) {
      if (!port.heavy && this.lightPort === port.number) this.lightAt[0] = Number.NEGATIVE_INFINITY;
      port.heavy = true;
    } else if (!port.heavy) {
      this.lightAt[0] = now;
      this.lightPort = port.number;
    }
  }

  private tooMuch(at: number): boolean {
    const { brought } = this;
    return (
      brought[at + DATAGRAMS] > LIGHT.datagrams ||
      brought[at + DESCRIPTORS] > LIGHT.descriptors ||
      brought[at + BYTES] > LIGHT.bytes
    );
  }
}

function perRing({ datagrams, descriptors, bytes, shift }: Budget): Budget[] {
  return Array.from({ length: MAX_PAIRS + 1 }, (_, rings) => {
    const share = Math.max(1, rings);
    return {
      datagrams: Math.ceil(datagrams / share),
      descriptors: Math.ceil(descriptors / share),
      bytes: Math.ceil(bytes / share),
      shift,
    };
  });
}
