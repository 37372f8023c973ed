/**
 * The stage behind routing: from base storage into the VMs' input buffers, the adapters' transmit rings and the rings to other
 * workers. What a receiver can't take just now goes to its backlog, past whose bound it is dropped: nobody is ever waited for.
 */
import type { Adapter } from '../adapter/adapter.ts';
import { BASE } from '../storage/outbox.ts';
import { CELL } from '../counters.ts';
import type { Attachment, Ring } from '../port/attachment.ts';
import { Backlog } from '../port/backlog.ts';
import { FULL, MAX_STEPS_PER_TURN, putInput } from '../port/input.ts';
import { putPacked } from '../port/packed-input.ts';
import { flowOf } from '../port/flow-pairs.ts';
import { plainPut, type PutPlain } from '../port/plain.ts';
import { plainPutPacked, type PutPlainPacked } from '../port/plain-packed.ts';
import type { Port } from '../port/port.ts';
import {
  AT_OWNER,
  BROADCAST,
  BROADCAST_HERE,
  cellOf,
  CONSUMED,
  IN_PIECES,
  isDrop,
} from '../routing/verdict.ts';
import { type BaseStorage, HEADER_BYTES } from '../storage/base-storage.ts';
import type { CopyList } from '../storage/copy-list.ts';
import { BROKEN } from '../virtio/split-queue.ts';
import { putGroup } from '../wire/mac.ts';
import type { Attention } from './attention.ts';
import type { Books } from './books.ts';
import type { TurnContext } from './context.ts';
import type { Publish } from './publish.ts';

const ETHERNET = 14;
/** Of a frame, where its IP destination is. */
const IP_DESTINATION = ETHERNET + 16;
/** Milliseconds that others wait behind a datagram that needs more buffers than are there. */
const MOST_SHORT = 100;

// Read once: the table of cells is too large for V8 to keep as a fast object.
const BROADCASTS = CELL.broadcasts;
const HANDOFF_FULL = CELL.handoffFull;
const INPUT_FULL = CELL.inputFull;
const INPUT_TOO_SMALL = CELL.inputTooSmall;
const MISSED = CELL.missed;
const RECEIVER_NOT_RUNNING = CELL.receiverNotRunning;
const SENT_BYTES = CELL.sentBytes;
const SENT_DATAGRAMS = CELL.sentDatagrams;

export class Deliver {
  /** Frame bytes that the last run delivered: into input buffers, transmit rings and rings to other workers. */
  bytes = 0;
  private readonly context: TurnContext;
  private readonly storage: BaseStorage;
  private readonly copies: CopyList;
  private readonly cells: Float64Array;
  private readonly putPlain: PutPlain;
  private readonly putPlainPacked: PutPlainPacked;
  private readonly time: Float64Array;
  private readonly ports: Port[];
  private readonly adapters: Adapter[];
  private readonly attention: Attention;
  private readonly publish: Publish;
  private readonly books: Books;
  /** Slots behind what was gathered that went already, as pieces in their whole's place; 0 again once they are passed over. */
  private readonly gone: Uint8Array;

  constructor(context: TurnContext, attention: Attention, publish: Publish, books: Books) {
    this.context = context;
    this.storage = context.storage;
    this.copies = context.copies;
    this.cells = context.counters.cells;
    this.putPlain = plainPut(context.storage, context.copies);
    this.putPlainPacked = plainPutPacked(context.storage, context.copies);
    this.time = context.router.time;
    this.ports = context.ports;
    this.adapters = context.adapters;
    this.attention = attention;
    this.publish = publish;
    this.books = books;
    this.gone = new Uint8Array(context.storage.to.length);
  }

  /**
   * Delivers every slot that has a receiver, what waited before first; how much of what waited went. The first `gathered` slots came from
   * rings, the others were appended.
   */
  run(gathered: number): number {
    const { storage, copies, gone } = this;
    copies.delivering = true;
    this.bytes = 0;
    const released = this.deliverBacklogs();
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
      if (outcome === 0) this.bytes += storage.length[slot];
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
    } else if (to === AT_OWNER) {
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
    const source = from[first];
    let slot = first;
    do {
      if (remote) {
        this.handOver(slot++, number);
        continue;
      }
      const put = this.putPlainly(port, slot, end, source);
      if (put === 0) this.deliverTo(port, slot++);
      else slot += put;
    } while (slot < end && to[slot] === number && from[slot] === source);
    if (remote) return slot;
    // Who gets something soon has something to say: looked at without waiting for its notification.
    this.attention.activate(port);
    port.lastWork = this.time[0];
    return slot;
  }

  /** Of a run that begins with `slot`, what the plain loops can put; how many they did. */
  private putPlainly(port: Port, slot: number, end: number, source: number): number {
    const { number, record, backlog, current } = port;
    if (
      current === null ||
      current.inputs.length !== 1 ||
      current.headerBytes !== HEADER_BYTES ||
      (backlog !== null && backlog.count > 0)
    )
      return 0;
    const ring = current.inputs[0];
    const { queue } = ring;
    const put =
      queue.format === 'split'
        ? this.putPlain(queue, current.memory, slot, end, number, source)
        : this.putPlainPacked(queue, current.memory, slot, end, number, source);
    if (put > 0) {
      this.publish.markDirty(ring);
      this.books.delivered(source, put);
      this.cells[record + SENT_DATAGRAMS] += put;
      this.cells[record + SENT_BYTES] += queue.movedBytes;
      this.bytes += queue.movedBytes;
    }
    return put;
  }

  /** Puts one slot into a VM's input buffer, or into its backlog. */
  private deliverTo(port: Port, slot: number): void {
    const { storage } = this;
    const attachment = port.current;
    if (attachment === null || !attachment.expects) {
      this.books.settle(storage.from[slot], port.number, RECEIVER_NOT_RUNNING);
      return;
    }
    const at = storage.at[slot];
    const length = storage.length[slot];
    let outcome = FULL;
    // What waits already comes first.
    if (attachment.receives && (port.backlog === null || port.backlog.count === 0)) {
      outcome = this.put(port, attachment, this.inputFor(attachment, at), at, length);
      if (outcome !== FULL) {
        this.books.settle(storage.from[slot], port.number, outcome);
        return;
      }
    }
    port.backlog ??= this.makeBacklog(port);
    const from = storage.from[slot];
    if (!port.backlog.add(at, length, from)) {
      this.books.settle(from, port.number, INPUT_FULL);
      return;
    }
    this.books.waiting(from, 1);
  }

  private makeBacklog(port: Port): Backlog {
    const senders = this.ports.length + this.adapters.length;
    return new Backlog(this.storage, this.context.backlogStart(port.number), senders);
  }

  /** 0, FULL, or a drop cell. */
  private put(port: Port, attachment: Attachment, ring: Ring, at: number, length: number): number {
    const { queue } = ring;
    const { chain, packedChain } = this.context;
    const { headerBytes, mergeable, memory } = attachment;
    const { storage, copies, cells } = this;
    // Its driver was asked to notify us of room when the ring was full. What comes here has waited for that, or finds it out anew.
    queue.disarm();
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
    this.publish.markDirty(ring);
    if (outcome === BROKEN) {
      this.context.ringBroke(port, ring);
      return RECEIVER_NOT_RUNNING;
    }
    if (outcome === FULL) port.fullRing = ring;
    if (outcome === 0) {
      this.cells[port.record + SENT_DATAGRAMS]++;
      this.cells[port.record + SENT_BYTES] += length;
      this.bytes += length;
    }
    return outcome;
  }

  /** A flow stays on one pair, and so in order. */
  private inputFor(attachment: Attachment, at: number): Ring {
    const { flows, inputs } = attachment;
    if (flows === null || inputs.length === 1) return inputs[0];
    const { words, bytes } = this.storage;
    return inputs[flows.of(flowOf(words, bytes, at), inputs.length, this.time)];
  }

  /** What waited for buffers, oldest first. */
  private deliverBacklogs(): number {
    let released = 0;
    const { active } = this.attention;
    for (let index = 0; index < active.length; index++) {
      const port = active[index];
      const { backlog, current } = port;
      if (backlog === null || backlog.count === 0 || current?.awaitsLog) continue;
      const before = released;
      while (backlog.count > 0) {
        const { from } = backlog;
        let outcome =
          current === null || !current.receives
            ? RECEIVER_NOT_RUNNING
            : this.put(
                port,
                current,
                this.inputFor(current, backlog.at),
                backlog.at,
                backlog.length,
              );
        if (outcome === FULL) {
          if (backlog.count === 1 || !this.neverFits(port)) break;
          outcome = INPUT_TOO_SMALL;
        }
        // The ring moves: where it ends next, it may be full for the first time, though a packed one's places come again.
        if (outcome === 0) port.shortAt = -1;
        backlog.shift();
        this.books.waiting(from, -1);
        this.books.settle(from, port.number, outcome);
        released++;
      }
      if (released > before) port.lastWork = this.time[0];
    }
    // The backlogs' bytes may be used again from here on.
    if (released > 0) this.copies.deliver();
    return released;
  }

  /**
   * The driver has buffers out, too few for the oldest datagram, and has added none for a while: it has no more, and what waits behind
   * would wait for ever.
   */
  private neverFits(port: Port): boolean {
    const { queue } = port.fullRing!;
    // It was not looked at any more: in the next turn it is.
    if (queue.spent >= MAX_STEPS_PER_TURN) return false;
    const at = queue.fullAt === queue.nextAvail ? -1 : queue.fullAt;
    if (at !== port.shortAt || port.fullRing !== port.shortRing) {
      port.shortAt = at;
      port.shortRing = port.fullRing;
      port.shortSince = this.time[0];
      return false;
    }
    return at >= 0 && this.time[0] - port.shortSince >= MOST_SHORT;
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
    putGroup(storage.halves, at >> 1, storage.words[(at + IP_DESTINATION) >> 2]);
    const { handoff } = this.context;
    if (handoff !== null && storage.to[slot] === BROADCAST) {
      handoff.broadcast(slot, network, this.ports[from].network);
      this.bytes += length;
    }
    for (const port of network.ports) {
      const { current } = port;
      if (port.number === from || current === null || !current.expects) continue;
      if (length - ETHERNET > current.mtu) {
        this.cells[port.record + MISSED]++;
        continue;
      }
      const copy = storage.take(BASE, length);
      if (copy < 0) {
        this.cells[port.record + MISSED]++;
        continue;
      }
      storage.bytes.copyWithin(storage.at[copy] - 12, at - 12, at + length);
      storage.to[copy] = this.context.router.toAll(copy, port, network);
      this.cells[port.record + BROADCASTS]++;
    }
  }

  /** To the worker that owns the port, or the adapters. What becomes of it is entered into the books there. */
  private handOver(slot: number, to: number): void {
    const from = this.storage.from[slot];
    const sender = from >= 0 && from < this.ports.length ? this.ports[from] : null;
    if (this.context.handoff!.put(slot, to, sender)) {
      this.bytes += this.storage.length[slot];
      return;
    }
    if (to >= 0) this.books.settle(from, to, HANDOFF_FULL);
    else this.books.dropped(from, HANDOFF_FULL);
  }

  /** Drops what waits for a port whose front-end went or changed its mind about offloads. */
  forget(port: Port): void {
    const { backlog } = port;
    while (backlog !== null && backlog.count > 0) {
      const { from } = backlog;
      backlog.shift();
      this.books.waiting(from, -1);
      this.books.settle(from, port.number, RECEIVER_NOT_RUNNING);
    }
  }
}
