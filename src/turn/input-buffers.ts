/**
 * Into a VM's input buffer: its receive virtqueue, or, where that has no room just now, its backlog, past whose bound a datagram is
 * dropped. What waits already comes first, and nobody is ever waited for.
 */
import { CELL } from '../counters.ts';
import type { Attachment } from '../port/attachment.ts';
import type { Ring } from '../port/ring.ts';
import { Backlog } from '../port/backlog.ts';
import { flowOf } from '../port/flow-pairs.ts';
import { FULL, MAX_STEPS_PER_TURN, putInput } from '../port/input.ts';
import { putPacked } from '../port/packed-input.ts';
import { plainPut, type PutPlain } from '../port/plain.ts';
import { plainPutPacked, type PutPlainPacked } from '../port/plain-packed.ts';
import type { Port } from '../port/port.ts';
import { type BaseStorage, HEADER_BYTES } from '../storage/base-storage.ts';
import type { CopyList } from '../storage/copy-list.ts';
import { BROKEN } from '../virtio/virtqueue.ts';
import type { Attention } from './attention.ts';
import type { Books } from './books.ts';
import type { TurnContext } from './context.ts';
import type { Publish } from './publish.ts';

/** How long others wait, in milliseconds, behind a datagram that needs more buffers than its driver has out. */
const MOST_SHORT = 100;

const INPUT_FULL = CELL.inputFull;
const INPUT_TOO_SMALL = CELL.inputTooSmall;
const RECEIVER_NOT_RUNNING = CELL.receiverNotRunning;
const SENT_BYTES = CELL.sentBytes;
const SENT_DATAGRAMS = CELL.sentDatagrams;

export class InputBuffers {
  /** Frame bytes that were put into input buffers since this was set to 0. */
  bytes = 0;
  private readonly context: TurnContext;
  private readonly storage: BaseStorage;
  private readonly copies: CopyList;
  private readonly cells: Float64Array;
  private readonly putPlain: PutPlain;
  private readonly putPlainPacked: PutPlainPacked;
  private readonly time: Float64Array;
  private readonly attention: Attention;
  private readonly publish: Publish;
  private readonly books: Books;

  constructor(context: TurnContext, attention: Attention, publish: Publish, books: Books) {
    this.context = context;
    this.storage = context.storage;
    this.copies = context.copies;
    this.cells = context.cells;
    this.putPlain = plainPut(context.storage, context.copies);
    this.putPlainPacked = plainPutPacked(context.storage, context.copies);
    this.time = context.time;
    this.attention = attention;
    this.publish = publish;
    this.books = books;
  }

  /** Of a run that begins with `slot`, what the plain loops can put; how many they did. */
  putPlainly(port: Port, slot: number, end: number, source: number): number {
    const { number, firstCell, backlog, current } = port;
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
      this.publish.markUnshown(ring);
      this.books.delivered(source, put);
      this.cells[firstCell + SENT_DATAGRAMS] += put;
      this.cells[firstCell + SENT_BYTES] += queue.movedBytes;
      this.bytes += queue.movedBytes;
    }
    return put;
  }

  /** Puts one slot into a VM's input buffer, or into its backlog. */
  putOrKeep(port: Port, slot: number): void {
    const { storage } = this;
    const attachment = port.current;
    if (attachment === null || !attachment.expects) {
      this.books.settle(storage.from[slot], port.number, RECEIVER_NOT_RUNNING);
      return;
    }
    const at = storage.at[slot];
    const length = storage.length[slot];
    const from = storage.from[slot];
    let pair = 0;
    if (attachment.receives) {
      const ring = this.inputFor(attachment, at);
      pair = ring.pair;
      // What waits for it already comes first.
      if (port.backlog === null || port.backlog.waitingFor(pair) === 0) {
        const outcome = this.put(port, attachment, ring, at, length);
        if (outcome !== FULL) {
          this.books.settle(from, port.number, outcome);
          return;
        }
      }
    }
    port.backlog ??= this.makeBacklog(port);
    if (!port.backlog.add(at, length, from, pair)) {
      this.books.settle(from, port.number, INPUT_FULL);
      return;
    }
    this.books.waiting(from, 1);
  }

  /** Puts what waited for buffers, for each of a VM's pairs oldest first; how much of it went. */
  putBacklogs(): number {
    let released = 0;
    const { active } = this.attention;
    for (let index = 0; index < active.length; index++) {
      const port = active[index];
      const { backlog, current } = port;
      if (backlog === null || backlog.count === 0 || current?.awaitsLog) continue;
      const before = backlog.count;
      if (current === null || !current.receives) this.forget(port);
      else this.putBacklog(port, current, backlog);
      if (backlog.count === before) continue;
      released += before - backlog.count;
      port.lastWork = this.time[0];
    }
    // The backlogs' bytes may be used again from here on.
    if (released > 0) this.copies.deliver();
    return released;
  }

  /** Of one VM: a pair whose ring is full holds up no other. */
  private putBacklog(port: Port, attachment: Attachment, backlog: Backlog): void {
    if (backlog.inputs !== attachment.inputs) this.chooseAnew(attachment, backlog);
    let full = 0; // pairs, as bits
    let heldUp = 0;
    let entry = -1;
    while (heldUp < backlog.count) {
      entry = backlog.next(entry, full);
      const pair = backlog.pair(entry);
      const ring = inputOf(attachment, pair);
      // Without a ring it broke in this turn: in the next another is chosen.
      let outcome = FULL;
      if (ring !== null)
        outcome = this.put(port, attachment, ring, backlog.at(entry), backlog.length(entry));
      if (outcome === FULL) {
        const waiting = backlog.waitingFor(pair);
        if (ring === null || waiting === 1 || !this.neverFits(ring)) {
          full |= 1 << pair;
          heldUp += waiting;
          continue;
        }
        outcome = INPUT_TOO_SMALL;
      }
      // The ring moves: where it ends next, it may be full for the first time, though a packed one's places come again.
      if (outcome === 0) ring!.shortAt = -1;
      this.release(port, backlog, entry, outcome);
    }
  }

  /** Rings have come or gone: each datagram waits for the one that it would go into now. */
  private chooseAnew(attachment: Attachment, backlog: Backlog): void {
    const { inputs } = attachment;
    backlog.inputs = inputs;
    for (const ring of inputs) ring.shortAt = -1;
    backlog.assign((at) => this.inputFor(attachment, at).pair);
  }

  /** Drops what waits for a port whose front-end went or changed its mind about offloads. */
  forget(port: Port): void {
    const { backlog } = port;
    while (backlog !== null && backlog.count > 0)
      this.release(port, backlog, backlog.next(-1, 0), RECEIVER_NOT_RUNNING);
  }

  private release(port: Port, backlog: Backlog, entry: number, outcome: number): void {
    const from = backlog.from(entry);
    backlog.remove(entry);
    this.books.waiting(from, -1);
    this.books.settle(from, port.number, outcome);
  }

  private makeBacklog(port: Port): Backlog {
    const senders = this.context.ports.length + this.context.adapters.length;
    return new Backlog(this.storage, this.context.backlogStart(port.number), senders);
  }

  /** Puts the frame at `at` into one ring, and enters what it received: 0 when done, FULL, or the drop cell; a ring that breaks is told of. */
  private put(port: Port, attachment: Attachment, ring: Ring, at: number, length: number): number {
    const { queue } = ring;
    const { firstCell } = port;
    // Its driver was asked to notify us of room when the ring was full. What comes here has waited for that, or finds it out anew.
    queue.disarm();
    const outcome =
      queue.format === 'split'
        ? putInput(queue, firstCell, attachment, at, length, this.context)
        : putPacked(queue, firstCell, attachment, at, length, this.context);
    this.publish.markUnshown(ring);
    if (outcome === BROKEN) {
      this.context.ringBroke(port, ring);
      return RECEIVER_NOT_RUNNING;
    }
    if (outcome === 0) {
      this.cells[firstCell + SENT_DATAGRAMS]++;
      this.cells[firstCell + SENT_BYTES] += length;
      this.bytes += length;
    }
    return outcome;
  }

  /** A flow stays on one pair, and so in order. */
  private inputFor(attachment: Attachment, at: number): Ring {
    const { flows, inputs } = attachment;
    if (flows === null || inputs.length === 1) return inputs[0];
    const { words, bytes } = this.storage;
    const flow = flowOf(words, bytes, at);
    const usual = inputs[((flow >>> 16) * inputs.length) >>> 16];
    // The driver may have switched that pair off.
    return inputOf(attachment, flows.of(flow, usual.pair, this.time)) ?? usual;
  }

  /**
   * The driver has buffers out, too few for the oldest datagram that waits for the ring, and has added none for a while: it has no more, and what
   * waits behind would wait for ever.
   */
  private neverFits(ring: Ring): boolean {
    const { queue } = ring;
    // It was not looked at any more: in the next turn it is.
    if (queue.spent >= MAX_STEPS_PER_TURN) return false;
    const at = queue.fullAt === queue.nextAvail ? -1 : queue.fullAt;
    if (at !== ring.shortAt) {
      ring.shortAt = at;
      ring.shortSince = this.time[0];
      return false;
    }
    return at >= 0 && this.time[0] - ring.shortSince >= MOST_SHORT;
  }
}

/** The input ring of a pair; null: there is none, or it may not be touched. */
function inputOf(attachment: Attachment, pair: number): Ring | null {
  const { inputs } = attachment;
  for (let index = 0; index < inputs.length; index++)
    if (inputs[index].pair === pair) return inputs[index];
  return null;
}
