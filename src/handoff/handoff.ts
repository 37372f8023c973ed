/**
 * One turn worker's ends of the rings to and from all others. What is for a port that another worker owns is put into the ring to
 * that worker; what the others put for us is gathered in the next turn like anything else. Nobody waits for anybody: a full ring
 * drops, counted.
 *
 * A worker sleeps only after it has said so in shared memory and looked at its rings once more; a producer looks at that flag after it has
 * published. One of the two sees the other, whatever the order (both sides use sequentially consistent loads and stores).
 */
import type { HandoffStart } from './layout.ts';
import type { BasePlan } from '../plan.ts';
import { CELL, type Counters, RECORD_CELLS } from '../counters.ts';
import type { Native } from '../native.ts';
import type { Budget } from '../port/output.ts';
import type { Port } from '../port/port.ts';
import type { Network } from '../routing/network.ts';
import { AT_ADAPTERS, BROADCAST_HERE } from '../routing/verdict.ts';
import type { BaseStorage } from '../storage/base-storage.ts';
import type { CopyList } from '../storage/copy-list.ts';
import { HandedColumns } from '../routing/handed-columns.ts';
import { Incoming } from './incoming.ts';
import { handoffBytes, quietAt, ringStart, sleepingAt } from './layout.ts';
import { Outgoing } from './outgoing.ts';

const MISSED = CELL.missed;
const TAKEN_OVER = CELL.takenOver;

/** The worker that owns the adapters, the control service and everything else that there is only one of. */
export const ADAPTERS_WORKER = 0;

/** Collects the eventfds that are signalled at the end of a turn (`turn/notifications.ts`); those of workers belong to no ring. */
export interface NotificationList {
  add(fd: number, ring: null): void;
}

export class Handoff {
  /** Which worker owns each port. */
  readonly workers: Int32Array;
  readonly columns: HandedColumns;
  private readonly native: Native;
  private readonly region: number;
  private readonly words: Int32Array;
  private readonly storage: BaseStorage;
  private readonly cells: Float64Array;
  /** By worker; our own is null. */
  private readonly outgoing: (Outgoing | null)[] = [];
  private readonly consumers: Outgoing[] = [];
  private readonly incoming: Incoming[] = [];
  /** Word that says whether a worker sleeps, and eventfd that wakes it, for each of `consumers`. */
  private readonly sleeping: number[] = [];
  private readonly wakeFds: number[] = [];
  private readonly ownSleeping: number;
  private readonly ownQuiet: number;
  private readonly quiet: number[] = [];
  /** By network and worker: 1 when the worker has VMs of it. */
  private readonly reaches: Uint8Array;
  /** The adapters are ours. */
  readonly hasAdapters: boolean;
  /** Slots from `firstTaken` on whose `from` is at least `marks` were taken out of a ring. */
  private firstTaken = 0;
  private readonly marks: number;
  /** Ports below are VMs'. */
  private readonly vms: number;
  /** With whom the next gather begins. */
  private first = 0;
  private readonly time: Float64Array;
  private readonly lastWork = new Float64Array([Number.NEGATIVE_INFINITY]);

  /** Maps the shared memory; throws when that is not possible. `time` is the turn's clock. */
  constructor(
    native: Native,
    start: HandoffStart,
    plan: BasePlan,
    worker: number,
    storage: BaseStorage,
    copies: CopyList,
    counters: Counters,
    time: Float64Array,
  ) {
    const { workers } = plan.datapath;
    const vms = plan.vms.length;
    const ports = vms + plan.adapters.length;
    this.native = native;
    this.hasAdapters = worker === ADAPTERS_WORKER;
    this.marks = ports;
    this.vms = vms;
    this.storage = storage;
    this.cells = counters.cells;
    this.time = time;
    this.workers = Int32Array.from({ length: ports }, (_, port) => workerOf(plan, port));
    this.columns = new HandedColumns(
      storage.slots,
      vms,
      ports,
      (vm) => this.workers[vm] === worker,
      worker === ADAPTERS_WORKER,
    );
    this.reaches = new Uint8Array(plan.networks.length * workers);
    for (const vm of plan.vms) this.reaches[vm.network * workers + vm.worker] = 1;
    const bytes = handoffBytes(workers);
    this.region = native.mapRegion(start.memory, 0, bytes);
    this.words = new Int32Array(native.viewRegion(this.region, 0, bytes));
    this.ownSleeping = sleepingAt(worker) >> 2;
    this.ownQuiet = quietAt(worker) >> 2;
    Atomics.store(this.words, this.ownQuiet, 0);
    for (let other = 0; other < workers; other++) {
      if (other === worker) {
        this.outgoing.push(null);
        continue;
      }
      const there = ringStart(workers, worker, other);
      const outgoing = new Outgoing(this.words, this.region, there, copies, this.cells);
      this.outgoing.push(outgoing);
      this.consumers.push(outgoing);
      this.sleeping.push(sleepingAt(other) >> 2);
      this.quiet.push(quietAt(other) >> 2);
      this.wakeFds.push(start.wakeFds[other]);
      const here = ringStart(workers, other, worker);
      this.incoming.push(
        new Incoming(this.words, this.region, here, storage, copies, this.columns, ports + other),
      );
    }
  }

  /** Entries that were left out because they were impossible. */
  get damaged(): number {
    let damaged = 0;
    for (const ring of this.incoming) damaged += ring.damaged;
    return damaged;
  }

  // --- the way out ----------------------------------------------------------------------------------

  /**
   * Hands a slot to the worker that owns the port `to`, or, with AT_ADAPTERS, to the one that owns the adapters. False: its ring is full.
   * An adapter stands for a whole LAN, and counts as one that brings much.
   */
  put(slot: number, to: number, sender: Port | null): boolean {
    const { storage } = this;
    const ring = this.outgoing[to === AT_ADAPTERS ? ADAPTERS_WORKER : this.workers[to]];
    if (ring === null) return false;
    const from = storage.from[slot];
    const heavy = sender === null ? from >= this.vms : sender.heavy;
    return ring.put(storage.at[slot], storage.length[slot], from, to, heavy);
  }

  /** Hands a broadcast to every worker that has other VMs of the network, which is the plan's `number`th. */
  broadcast(slot: number, network: Network, number: number): void {
    const { storage, outgoing } = this;
    for (let worker = 0; worker < outgoing.length; worker++) {
      const ring = outgoing[worker];
      if (ring === null || this.reaches[number * outgoing.length + worker] === 0) continue;
      const from = storage.from[slot];
      if (ring.put(storage.at[slot], storage.length[slot], from, BROADCAST_HERE, false)) continue;
      for (const port of network.ports)
        if (this.workers[port.number] === worker) this.cells[port.firstCell + MISSED]++;
    }
  }

  /** After the copies: shows the others what is for them, and adds the eventfds of those that sleep to `notifications`. */
  publish(notifications: NotificationList): void {
    const { consumers } = this;
    for (let index = 0; index < consumers.length; index++) {
      if (!consumers[index].publish()) continue;
      if (Atomics.load(this.words, this.sleeping[index]) !== 0)
        notifications.add(this.wakeFds[index], null);
    }
  }

  // --- the way in -----------------------------------------------------------------------------------

  /** True when somebody handed something over. */
  hasWork(): boolean {
    const { incoming } = this;
    for (let index = 0; index < incoming.length; index++)
      if (incoming[index].hasWork()) return true;
    return false;
  }

  /** Takes what was handed over into base storage, from each worker within the budget; how much. */
  gather(budget: Budget): number {
    const { incoming } = this;
    const count = incoming.length;
    this.firstTaken = this.storage.count;
    let index = this.first;
    if (++this.first === count) this.first = 0;
    let found = 0;
    for (let left = count; left > 0; left--) {
      const ring = incoming[index];
      if (ring.hasWork()) found += ring.gather(budget.datagrams, budget.bytes);
      if (++index === count) index = 0;
    }
    if (found > 0) this.lastWork[0] = this.time[0];
    return found;
  }

  /** After the copies of `gather`. Enters into the books what the others may forget from here on: nothing can fail in between. */
  release(): void {
    const { incoming, storage, columns, cells } = this;
    for (let slot = this.firstTaken; slot < storage.count; slot++) {
      if (storage.from[slot] < this.marks) continue;
      const from = columns.from[slot];
      // Copies of broadcasts, and what the base itself says, are in nobody's books.
      if (from >= 0 && columns.to[slot] !== BROADCAST_HERE)
        cells[from * RECORD_CELLS + TAKEN_OVER]++;
    }
    for (let index = 0; index < incoming.length; index++) incoming[index].release();
  }

  // --- between turns ----------------------------------------------------------------------------------

  /** Something came less than `spin` milliseconds ago: more may come. */
  recent(spin: number): boolean {
    return this.time[0] - this.lastWork[0] < spin;
  }

  /** Says that we are going to sleep; false, and it is not said, when something came meanwhile. */
  fallAsleep(): boolean {
    Atomics.store(this.words, this.ownSleeping, 1);
    if (!this.hasWork()) return true;
    this.wakeUp();
    return false;
  }

  /** Takes back what `fallAsleep` said. */
  wakeUp(): void {
    Atomics.store(this.words, this.ownSleeping, 0);
  }

  /** Says that we hand over nothing more that our ports sent: we are ending. */
  beQuiet(): void {
    Atomics.store(this.words, this.ownQuiet, 1);
  }

  /** The worker does not run, and so can't say it: nobody waits for it. */
  expectNothing(worker: number): void {
    const index = this.quiet.indexOf(quietAt(worker) >> 2);
    if (index >= 0) this.quiet.splice(index, 1);
  }

  /** All others that run have said so; what they handed over is in the rings. */
  get othersQuiet(): boolean {
    return this.quiet.every((cell) => Atomics.load(this.words, cell) !== 0);
  }

  /** Unmaps the shared memory; the descriptors are the main thread's. Nothing here may be used afterwards. */
  close(): void {
    this.native.unmapRegion(this.region);
  }
}

/** The worker that owns a port. */
export function workerOf(plan: BasePlan, port: number): number {
  return port < plan.vms.length ? plan.vms[port].worker : ADAPTERS_WORKER;
}
