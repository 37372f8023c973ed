/**
 * The stage behind routing: from base storage into the VMs' input buffers (`input-buffers.ts`), the adapters' transmit rings and the rings to
 * other workers. Nobody is ever waited for.
 */
import type { Adapter } from '../adapter/adapter.ts';
import { CELL } from '../counters.ts';
import type { Port } from '../port/port.ts';
import {
  AT_ADAPTERS,
  BROADCAST,
  BROADCAST_HERE,
  cellOf,
  CONSUMED,
  IN_PIECES,
  isDrop,
} from '../routing/verdict.ts';
import { type BaseStorage, HEADER_BYTES } from '../storage/base-storage.ts';
import type { CopyList } from '../storage/copy-list.ts';
import { BASE } from '../storage/outbox.ts';
import * as ethernet from '../wire/ethernet.ts';
import * as ipv4 from '../wire/ipv4.ts';
import { putGroup } from '../wire/mac.ts';
import type { Attention } from './attention.ts';
import type { Books } from './books.ts';
import type { TurnContext } from './context.ts';
import { InputBuffers } from './input-buffers.ts';
import type { Publish } from './publish.ts';

const BROADCASTS = CELL.broadcasts;
const HANDOFF_FULL = CELL.handoffFull;
const MISSED = CELL.missed;

export class Deliver {
  private readonly context: TurnContext;
  private readonly storage: BaseStorage;
  private readonly copies: CopyList;
  private readonly cells: Float64Array;
  private readonly time: Float64Array;
  private readonly ports: Port[];
  private readonly adapters: Adapter[];
  private readonly attention: Attention;
  private readonly books: Books;
  private readonly inputs: InputBuffers;
  /** Frame bytes that the last run put into transmit rings and rings to other workers. */
  private others = 0;
  /** Slots behind what was gathered that went already, as pieces in their whole's place; 0 again once they are passed over. */
  private readonly gone: Uint8Array;

  constructor(context: TurnContext, attention: Attention, publish: Publish, books: Books) {
    this.context = context;
    this.storage = context.storage;
    this.copies = context.copies;
    this.cells = context.cells;
    this.time = context.time;
    this.ports = context.ports;
    this.adapters = context.adapters;
    this.attention = attention;
    this.books = books;
    this.inputs = new InputBuffers(context, attention, publish, books);
    this.gone = new Uint8Array(context.storage.to.length);
  }

  /** Frame bytes that the last run delivered: into input buffers, transmit rings and rings to other workers. */
  get bytes(): number {
    return this.inputs.bytes + this.others;
  }

  /**
   * Delivers every slot that has a receiver, what waited before first; how much of what waited went. The first `gathered` slots came from
   * rings, the others were appended.
   */
  run(gathered: number): number {
    const { storage, copies, gone } = this;
    copies.delivering = true;
    this.others = 0;
    this.inputs.bytes = 0;
    const released = this.inputs.putBacklogs();
    const { to } = storage;
    const vms = this.ports.length;
    // Broadcasts append slots while this runs.
    let slot = 0;
    while (slot < storage.count) {
      const port = to[slot];
      if (gone[slot] !== 0) gone[slot++] = 0;
      else if (port >= 0 && port < vms)
        slot = this.deliverRun(this.ports[port], slot, slot < gathered ? gathered : slot + 1);
      else this.deliverOther(slot++);
    }
    copies.deliver();
    return released;
  }

  /** What goes to no single VM. */
  private deliverOther(slot: number): void {
    const { storage, books } = this;
    const from = storage.from[slot];
    const to = storage.to[slot];
    const { handoff } = this.context;
    if (to >= 0 && handoff !== null && !handoff.hasAdapters) {
      this.handOver(slot, to);
    } else if (to >= 0) {
      const outcome = this.adapters[to - this.ports.length].put(slot);
      if (outcome === 0) this.others += storage.length[slot];
      books.settle(from, to, outcome);
    } else if (to === CONSUMED) {
      books.delivered(from, 1);
    } else if (isDrop(to)) {
      books.dropped(from, cellOf(to));
    } else if (to === BROADCAST) {
      this.replicate(slot);
      books.delivered(from, 1);
    } else if (to === BROADCAST_HERE) {
      this.replicate(slot);
    } else if (to === AT_ADAPTERS) {
      this.handOver(slot, to);
    } else if (to === IN_PIECES) {
      this.deliverPieces(slot);
      books.delivered(from, 1);
    }
  }

  /** In the place of the datagram that was cut, so that nothing that came behind it overtakes them. Segments may be in fragments again. */
  private deliverPieces(whole: number): void {
    const { to, firstPiece, pieces } = this.storage;
    const first = firstPiece[whole];
    const end = first + pieces[whole];
    for (let slot = first; slot < end; ) {
      const port = to[slot];
      if (port >= 0 && port < this.ports.length)
        slot = this.deliverRun(this.ports[port], slot, end);
      else this.deliverOther(slot++);
    }
    for (let slot = first; slot < end; slot++) this.gone[slot] = 1;
  }

  /** Puts a run of slots before `end`, between the same two ports, into the VM's input buffer; returns the slot behind the run. */
  private deliverRun(port: Port, first: number, end: number): number {
    const { to, from } = this.storage;
    const { number, remote } = port;
    const { inputs } = this;
    const source = from[first];
    let slot = first;
    do {
      if (remote) {
        this.handOver(slot++, number);
        continue;
      }
      const put = inputs.putPlainly(port, slot, end, source);
      if (put === 0) inputs.putOrKeep(port, slot++);
      else slot += put;
    } while (slot < end && to[slot] === number && from[slot] === source);
    if (remote) return slot;
    // Who gets something soon has something to say: looked at without waiting for its notification.
    this.attention.activate(port);
    port.lastWork = this.time[0];
    return slot;
  }

  /**
   * A broadcast goes to every other VM of the network (those of other workers: there), as copies that are in nobody's books but
   * the receivers'.
   */
  private replicate(slot: number): void {
    const { storage } = this;
    const from = storage.from[slot];
    const network = this.context.networks[this.ports[from].network];
    const length = storage.length[slot];
    const at = storage.at[slot];
    putGroup(
      storage.halves,
      at >> 1,
      storage.words[(at + ethernet.HEADER_BYTES + ipv4.DESTINATION) >> 2],
    );
    const { handoff } = this.context;
    if (handoff !== null && storage.to[slot] === BROADCAST) {
      handoff.broadcast(slot, network, this.ports[from].network);
      this.others += length;
    }
    for (const port of network.ports) {
      const { current } = port;
      if (port.number === from || current === null || !current.expects) continue;
      if (length - ethernet.HEADER_BYTES > current.mtu) {
        this.cells[port.firstCell + MISSED]++;
        continue;
      }
      const copy = storage.take(BASE, length);
      if (copy < 0) {
        this.cells[port.firstCell + MISSED]++;
        continue;
      }
      storage.bytes.copyWithin(storage.at[copy] - HEADER_BYTES, at - HEADER_BYTES, at + length);
      storage.to[copy] = this.context.router.toAll(copy, port, network);
      this.cells[port.firstCell + BROADCASTS]++;
    }
  }

  /** To the worker that owns the port, or the adapters. What becomes of it is entered into the books there. */
  private handOver(slot: number, to: number): void {
    const from = this.storage.from[slot];
    const sender = from >= 0 && from < this.ports.length ? this.ports[from] : null;
    if (this.context.handoff!.put(slot, to, sender)) {
      this.others += this.storage.length[slot];
      return;
    }
    if (to >= 0) this.books.settle(from, to, HANDOFF_FULL);
    else this.books.dropped(from, HANDOFF_FULL);
  }

  /** Drops what waits for a port whose front-end went or changed its mind about offloads. */
  forget(port: Port): void {
    this.inputs.forget(port);
  }
}
