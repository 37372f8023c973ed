/**
 * START HERE: one turn, the whole way of every datagram that is ready now.
 *
 *     VM's output buffer --gather--> base storage --route--> --deliver--> VM's input buffer
 *     adapter's receive ring ------------^                       \------> adapter's transmit ring
 *
 * Each stage makes rows of numbers and one native call carries out its copies. Nothing is allocated, nothing waits for
 * anybody, and what is published is published once per ring. Used entries of output buffers are shown right after their copies, so
 * that the base may die at any instant and a guest loses at most what was under way.
 */
import type { Adapter } from './adapter/adapter.ts';
import { BASE, type Outbox } from './base/outbox.ts';
import type { Tracer } from './base/trace.ts';
import { CELL, type Counters } from './counters.ts';
import type { Native } from './native.ts';
import type { Attachment, Ring } from './port/attachment.ts';
import { Backlog } from './port/backlog.ts';
import { FULL, putInput } from './port/input.ts';
import { putPlain } from './port/plain.ts';
import { type Budget, discardOutput, gatherOutput } from './port/output.ts';
import { putPacked } from './port/packed-input.ts';
import { discardPacked, gatherPacked } from './port/packed-output.ts';
import type { Port } from './port/port.ts';
import type { Network } from './routing/network.ts';
import type { Router } from './routing/router.ts';
import { BROADCAST, cellOf, CONSUMED, isDrop } from './routing/verdict.ts';
import { type BaseStorage, HEADER_BYTES } from './storage/base-storage.ts';
import type { CopyList } from './storage/copy-list.ts';
import type { Chain } from './virtio/chain.ts';
import type { PackedChain } from './virtio/packed-chain.ts';
import type { PackedQueue } from './virtio/packed-queue.ts';
import { BROKEN, type SplitQueue } from './virtio/split-queue.ts';

// Read once: the table of cells is too large for V8 to keep as a fast object.
const BROADCASTS = CELL.broadcasts;
const DELIVERED = CELL.delivered;
const INPUT_FULL = CELL.inputFull;
const MISSED = CELL.missed;
const RECEIVER_NOT_RUNNING = CELL.receiverNotRunning;
const SENT_BYTES = CELL.sentBytes;
const SENT_DATAGRAMS = CELL.sentDatagrams;
const WAITING = CELL.waiting;

export interface TurnContext {
  native: Native;
  storage: BaseStorage;
  copies: CopyList;
  chain: Chain;
  packedChain: PackedChain;
  counters: Counters;
  ports: Port[];
  adapters: Adapter[];
  networks: Network[];
  router: Router;
  outbox: Outbox;
  tracer: Tracer;
  budget: Budget;
  /** Where in the arena the backlog of each port lies. */
  backlogStart(port: number): number;
  /** A ring stopped working; told after the turn's stage, at most once per ring. */
  ringBroke(port: Port, ring: Ring): void;
}

const MAX_SIGNALS = 1024;

export class Turn {
  private readonly context: TurnContext;
  private readonly storage: BaseStorage;
  private readonly copies: CopyList;
  private readonly cells: Float64Array;
  private readonly ports: Port[];
  private readonly adapters: Adapter[];
  /** Ports that are looked at without being asked, in no particular order. */
  private readonly active: Port[] = [];
  /** With whom the next gather begins, so that nobody is always last. */
  private first = 0;
  /** Rings with used elements that are not shown yet. */
  private readonly dirty: Ring[] = [];
  private dirtyCount = 0;
  private readonly signals = new Int32Array(MAX_SIGNALS);
  private signalCount = 0;
  /**
   * Now, in milliseconds. A cell and no parameter: V8 makes an object of each fraction that is passed on, and an empty turn
   * should leave no garbage.
   */
  readonly time: Float64Array;
  /** Milliseconds that a port is looked at without being asked after its last work. */
  spin = 0;

  constructor(context: TurnContext) {
    this.context = context;
    this.storage = context.storage;
    this.copies = context.copies;
    this.cells = context.counters.cells;
    this.ports = context.ports;
    this.adapters = context.adapters;
    this.time = context.router.time;
  }

  /** One turn at `now` (milliseconds). Returns how many datagrams it found: 0 means that nothing was to be done. */
  run(now: number): number {
    this.time[0] = now;
    return this.next();
  }

  /** `run` at `time`. */
  next(): number {
    const { storage, context } = this;
    storage.clear();
    // What waited outside, for a neighbour's address for instance, goes first and alone: what is gathered now must not overtake it.
    const found = context.outbox.length > 0 ? 0 : this.gather();
    const gathered = storage.count;
    if (context.outbox.length > 0) context.outbox.moveTo(storage);
    context.router.route(gathered);
    if (context.tracer.wanted) context.tracer.routed(gathered, this.copies.carried);
    const released = this.deliver();
    if (context.tracer.wanted) context.tracer.delivered(this.copies.carried);
    this.publish();
    return found + released + storage.count - gathered;
  }

  // --- gather -----------------------------------------------------------------------------------

  private gather(): number {
    const { active, copies, context } = this;
    const count = active.length;
    let found = 0;
    copies.delivering = false;
    if (count > 0) {
      let index = this.first++ % count;
      for (let left = count; left > 0; left--) {
        const port = active[index];
        const attachment = port.current;
        if (attachment !== null) {
          const taken = this.gatherPort(port, attachment);
          if (taken > 0) {
            port.lastWork = this.time[0];
            found += taken;
          }
        }
        if (++index === count) index = 0;
      }
    }
    for (const adapter of this.adapters) {
      if (adapter.hasWork())
        found += adapter.gather(context.budget.datagrams, context.budget.bytes);
    }
    if (found > 0) {
      copies.gather();
      this.show();
      for (const adapter of this.adapters) adapter.release();
    }
    return found;
  }

  private gatherPort(port: Port, attachment: Attachment): number {
    const { outputs } = attachment;
    let found = 0;
    for (let index = 0; index < outputs.length; index++) {
      const ring = outputs[index];
      const { queue } = ring;
      if (!queue.mayHaveWork()) continue;
      const taken =
        queue.format === 'packed'
          ? this.gatherPacked(ring, queue, port, attachment)
          : ring.enabled
            ? gatherOutput(
                queue,
                port.record,
                attachment.headerBytes,
                attachment.memory,
                this.storage,
                this.copies,
                this.context.chain,
                this.context.budget,
                port.number,
                this.cells,
              )
            : discardOutput(queue, port.record, this.context.budget, this.cells);
      queue.disarm();
      this.markDirty(ring);
      if (taken > 0) found += taken;
      else if (taken === BROKEN) {
        // What was taken before it broke is shown; `outputs` is a new array after this.
        this.context.ringBroke(port, ring);
        return found + 1;
      }
    }
    return found;
  }

  private gatherPacked(ring: Ring, queue: PackedQueue, port: Port, attachment: Attachment): number {
    const { chain, packedChain, budget } = this.context;
    const { memory, headerBytes } = attachment;
    if (!ring.enabled)
      return discardPacked(queue, port.record, memory, chain, packedChain, budget, this.cells);
    return gatherPacked(
      queue,
      port.record,
      headerBytes,
      memory,
      this.storage,
      this.copies,
      chain,
      packedChain,
      budget,
      port.number,
      this.cells,
    );
  }

  // --- deliver ----------------------------------------------------------------------------------

  private deliver(): number {
    const { storage, copies } = this;
    copies.delivering = true;
    const released = this.deliverBacklogs();
    const { to, from } = storage;
    const vms = this.ports.length;
    // Broadcasts and segments append slots while this runs.
    let slot = 0;
    while (slot < storage.count) {
      const port = to[slot];
      if (port >= 0 && port < vms) {
        slot = this.deliverRun(this.ports[port], slot);
        continue;
      }
      if (port >= 0) {
        this.settle(from[slot], port, this.adapters[port - vms].put(slot));
      } else if (port === CONSUMED) {
        if (from[slot] >= 0) this.cells[this.recordOf(from[slot]) + DELIVERED]++;
      } else if (isDrop(port)) {
        if (from[slot] >= 0) this.cells[this.recordOf(from[slot]) + cellOf(port)]++;
      } else if (port === BROADCAST) {
        this.replicate(slot);
      }
      slot++;
    }
    copies.deliver();
    return released;
  }

  /** Puts a run of slots between the same two ports into the VM's input buffer; returns the slot behind the run. */
  private deliverRun(port: Port, first: number): number {
    const { storage, copies, cells } = this;
    const { to, from, count } = storage;
    const source = from[first];
    let end = first + 1;
    while (end < count && to[end] === port.number && from[end] === source) end++;
    let slot = first;
    while (slot < end) {
      const attachment = port.current;
      if (
        attachment !== null &&
        attachment.inputs.length === 1 &&
        attachment.headerBytes === HEADER_BYTES &&
        (port.backlog === null || port.backlog.count === 0)
      ) {
        const ring = attachment.inputs[0];
        const { queue } = ring;
        const put =
          queue.format === 'split'
            ? putPlain(queue, attachment.memory, storage, slot, end, copies)
            : 0;
        if (put > 0) {
          this.markDirty(ring);
          if (source >= 0) cells[this.recordOf(source) + DELIVERED] += put;
          cells[port.record + SENT_DATAGRAMS] += put;
          cells[port.record + SENT_BYTES] += (queue as SplitQueue).movedBytes;
          slot += put;
          continue;
        }
      }
      this.deliverTo(port, slot);
      slot++;
    }
    // Who gets something soon has something to say: looked at without waiting for its notification.
    this.activate(port);
    port.lastWork = this.time[0];
    return end;
  }

  /** Puts one slot into a VM's input buffer, or into its backlog. */
  private deliverTo(port: Port, slot: number): void {
    const { storage } = this;
    const attachment = port.current;
    if (attachment === null || !attachment.receives) {
      this.settle(storage.from[slot], port.number, RECEIVER_NOT_RUNNING);
      return;
    }
    const at = storage.at[slot];
    const length = storage.length[slot];
    let outcome = FULL;
    // What waits already comes first.
    if (port.backlog === null || port.backlog.count === 0) {
      outcome = this.put(port, attachment, this.inputFor(attachment, at), at, length);
      if (outcome !== FULL) {
        this.settle(storage.from[slot], port.number, outcome);
        return;
      }
    }
    port.backlog ??= new Backlog(storage, this.context.backlogStart(port.number));
    const from = storage.from[slot];
    if (!port.backlog.add(at, length, from)) {
      this.settle(from, port.number, INPUT_FULL);
      return;
    }
    if (from >= 0) this.cells[this.recordOf(from) + WAITING]++;
  }

  /** 0, FULL, or a drop cell. */
  private put(port: Port, attachment: Attachment, ring: Ring, at: number, length: number): number {
    const { queue } = ring;
    const { chain, packedChain } = this.context;
    const { headerBytes, mergeable, memory } = attachment;
    const { storage, copies, cells } = this;
    const outcome =
      queue.format === 'split'
        ? putInput(
            queue,
            port.record,
            headerBytes,
            mergeable,
            memory,
            storage,
            at,
            length,
            copies,
            chain,
            cells,
          )
        : putPacked(
            queue,
            port.record,
            headerBytes,
            mergeable,
            memory,
            storage,
            at,
            length,
            copies,
            chain,
            packedChain,
            cells,
          );
    this.markDirty(ring);
    if (outcome === BROKEN) {
      this.context.ringBroke(port, ring);
      return RECEIVER_NOT_RUNNING;
    }
    if (outcome === 0) {
      this.cells[port.record + SENT_DATAGRAMS]++;
      this.cells[port.record + SENT_BYTES] += length;
    }
    return outcome;
  }

  /** A flow stays on one pair, and so in order. */
  private inputFor(attachment: Attachment, at: number): Ring {
    const { inputs } = attachment;
    if (inputs.length === 1) return inputs[0];
    const { words } = this.storage;
    // Addresses, and the first word behind a header without options: the ports of TCP and UDP. A fragment has none.
    let mix = words[(at + 26) >> 2] ^ words[(at + 30) >> 2];
    if ((words[(at + 18) >> 2] & 0xffbf0000) === 0 && (this.storage.bytes[at + 14] & 0x0f) === 5)
      mix ^= words[(at + 34) >> 2];
    mix = Math.imul(mix, 0x9e3779b1);
    return inputs[((mix ^ (mix >>> 15)) >>> 0) % inputs.length];
  }

  /** What waited for buffers, oldest first. */
  private deliverBacklogs(): number {
    let released = 0;
    for (const port of this.active) {
      const { backlog, current } = port;
      if (backlog === null || backlog.count === 0) continue;
      while (backlog.count > 0) {
        const { from } = backlog;
        const outcome =
          current === null || !current.receives
            ? RECEIVER_NOT_RUNNING
            : this.put(
                port,
                current,
                this.inputFor(current, backlog.at),
                backlog.at,
                backlog.length,
              );
        if (outcome === FULL) break;
        backlog.shift();
        if (from >= 0) this.cells[this.recordOf(from) + WAITING]--;
        this.settle(from, port.number, outcome);
        released++;
      }
      if (released > 0) port.lastWork = this.time[0];
    }
    // The backlogs' bytes may be used again from here on.
    if (released > 0) this.copies.deliver();
    return released;
  }

  /** A broadcast goes to every other VM of the network, as copies that are in nobody's books but the receivers'. */
  private replicate(slot: number): void {
    const { storage } = this;
    const from = storage.from[slot];
    const network = this.context.networks[this.ports[from].network];
    const length = storage.length[slot];
    const at = storage.at[slot];
    storage.bytes.fill(0xff, at, at + 6);
    for (const port of network.ports) {
      if (port.number === from || port.current === null || !port.current.receives) continue;
      const copy = storage.take(BASE, length);
      if (copy < 0) {
        this.cells[port.record + MISSED]++;
        continue;
      }
      storage.bytes.copyWithin(storage.at[copy] - 12, at - 12, at + length);
      storage.to[copy] = this.context.router.toAll(copy, port, network);
      this.cells[port.record + BROADCASTS]++;
    }
    this.cells[this.recordOf(from) + DELIVERED]++;
  }

  /** Enters what became of a datagram into the books of where it came from. `outcome`: 0, or a drop cell. */
  private settle(from: number, to: number, outcome: number): void {
    if (from >= 0) this.cells[this.recordOf(from) + (outcome === 0 ? DELIVERED : outcome)]++;
    else if (outcome !== 0) this.cells[this.recordOf(to) + MISSED]++;
  }

  private recordOf(port: number): number {
    return port < this.ports.length
      ? this.ports[port].record
      : this.adapters[port - this.ports.length].record;
  }

  // --- publish ----------------------------------------------------------------------------------

  private publish(): void {
    this.show();
    for (const adapter of this.adapters) adapter.publish();
    this.signal();
  }

  /** Shows used elements, once per ring. */
  private show(): void {
    for (let index = 0; index < this.dirtyCount; index++) {
      const ring = this.dirty[index];
      ring.dirty = false;
      if (!ring.queue.mapped || !ring.queue.publish() || ring.callFd < 0) continue;
      if (this.signalCount === MAX_SIGNALS) this.signal();
      this.signals[this.signalCount++] = ring.callFd;
    }
    this.dirtyCount = 0;
  }

  /** At most one notification per ring, all in one native call. */
  private signal(): void {
    if (this.signalCount === 0) return;
    this.context.native.signalAll(this.signals, this.signalCount);
    this.signalCount = 0;
  }

  private markDirty(ring: Ring): void {
    if (ring.dirty) return;
    ring.dirty = true;
    this.dirty[this.dirtyCount++] = ring;
  }

  // --- who is looked at -------------------------------------------------------------------------

  /** Some port, adapter or the outbox wants another turn right away. */
  get busy(): boolean {
    if (this.active.length > 0 || this.context.outbox.length > 0) return true;
    for (const adapter of this.adapters) if (adapter.hasWork()) return true;
    return false;
  }

  /** Looks at this port in every turn until it is quiet again. */
  activate(port: Port): void {
    if (port.active) return;
    port.active = true;
    this.active.push(port);
  }

  /**
   * Stops looking at ports without work for `spin`, once their drivers have been asked to notify us and nothing came
   * in between. Their notifications stay suppressed while they are looked at.
   */
  quieten(): void {
    const { active } = this;
    const now = this.time[0];
    const since = now - this.spin;
    for (let index = active.length - 1; index >= 0; index--) {
      const port = active[index];
      if (port.lastWork > since) continue;
      if (this.arm(port)) {
        port.lastWork = now;
        continue;
      }
      port.active = false;
      active[index] = active[active.length - 1];
      active.pop();
    }
  }

  /** Arms all rings that could bring work; true when one did already. */
  private arm(port: Port): boolean {
    const attachment = port.current;
    if (attachment === null) return false;
    let work = false;
    for (const ring of attachment.outputs) {
      if (ring.queue.arm(ring.queue.nextAvail)) work = true;
    }
    if (port.backlog !== null && port.backlog.count > 0) {
      for (const ring of attachment.inputs) {
        if (ring.queue.arm(ring.queue.fullAt)) {
          ring.queue.disarm();
          work = true;
        }
      }
    }
    return work;
  }

  /** Drops what waits for a port whose front-end went or changed its mind about offloads. */
  forget(port: Port): void {
    const { backlog } = port;
    while (backlog !== null && backlog.count > 0) {
      const { from } = backlog;
      backlog.shift();
      if (from >= 0) this.cells[this.recordOf(from) + WAITING]--;
      this.settle(from, port.number, RECEIVER_NOT_RUNNING);
    }
  }
}
