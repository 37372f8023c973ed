/**
 * START HERE: one turn, the whole way of every datagram that is ready now.
 *
 *     VM's output buffer --gather--> base storage --route--> --deliver--> VM's input buffer
 *     adapter's receive ring ------------^                       \------> adapter's transmit ring
 *     (ring from another worker ---------^                       \------> ring to another worker)
 *
 * Each stage makes rows of numbers and one native call carries out its copies. Nothing is allocated, nothing waits for
 * anybody, and what is published is published once per ring. Used entries of output buffers are shown right after their copies, so
 * that the base may die at any instant and a guest loses at most what was under way.
 *
 * Loops that every turn runs count an index: where V8's room for inlining ends, `for ... of` makes an iterator each time.
 */
import { haveWork } from './adapter/adapter.ts';
import type { Port } from './port/port.ts';
import { Attention } from './turn/attention.ts';
import { Books } from './turn/books.ts';
import type { TurnContext } from './turn/context.ts';
import { Deliver } from './turn/deliver.ts';
import { Gather } from './turn/gather.ts';
import { Publish } from './turn/publish.ts';

export class Turn {
  readonly attention: Attention;
  /** See `TurnContext.time`: whoever runs turns sets it. */
  readonly time: Float64Array;
  private readonly context: TurnContext;
  private readonly gather: Gather;
  private readonly deliver: Deliver;
  private readonly publish: Publish;

  constructor(context: TurnContext) {
    this.context = context;
    this.time = context.time;
    this.attention = new Attention(this.time);
    this.publish = new Publish(context);
    this.gather = new Gather(context, this.attention, this.publish);
    this.deliver = new Deliver(context, this.attention, this.publish, new Books(context));
  }

  /** One turn at `time`. Returns how many datagrams it found: 0 means that nothing was to be done. */
  run(): number {
    const { storage, outbox } = this.context;
    storage.clear();
    // What waited outside, for a neighbour's address for instance, goes first and alone: what is gathered now must not overtake it.
    return this.goOn(outbox.length > 0 ? 0 : this.gather.run());
  }

  /** One turn for what other workers handed over, and nothing else. */
  runHanded(): number {
    const { storage, handoff } = this.context;
    storage.clear();
    return this.goOn(handoff === null ? 0 : this.gather.runHanded(handoff));
  }

  /** The stages behind gather, which found so much. */
  private goOn(found: number): number {
    const { storage, copies, outbox, router, tracer } = this.context;
    const gathered = storage.count;
    if (outbox.length > 0) outbox.moveTo(storage);
    router.route(gathered);
    if (tracer.wanted) tracer.routed(gathered, copies.carried);
    const released = this.deliver.run(gathered);
    if (tracer.wanted) tracer.delivered(copies.carried);
    this.publish.publish();
    return found + released + storage.count - gathered;
  }

  /** Call before each wait: notifies of what would be told with the next turn. */
  tell(): void {
    this.publish.tell();
  }

  /** Some port, adapter, other worker or the outbox wants another turn right away. */
  get busy(): boolean {
    if (this.attention.active.length > 0 || this.unfinished) return true;
    const { handoff } = this.context;
    return handoff !== null && (handoff.hasWork() || handoff.recent(this.attention.looksOn));
  }

  /** The outbox or an adapter has something that the last turn did not take. */
  get unfinished(): boolean {
    const { outbox, adapters } = this.context;
    return outbox.length > 0 || haveWork(adapters);
  }

  /** Frame bytes that the last turn delivered. */
  get deliveredBytes(): number {
    return this.deliver.bytes;
  }

  /** Looks at every port that something waits for; true when there is one. */
  lookAtBacklogs(): boolean {
    let waits = false;
    for (const port of this.context.ports) {
      if (port.backlog === null || port.backlog.count === 0) continue;
      this.attention.activate(port);
      waits = true;
    }
    return waits;
  }

  /** Looks at this port from the next turn on. */
  activate(port: Port): void {
    this.attention.activate(port);
  }

  /** Between two turns: tells a VM that nobody on the LAN answered for where its `packet` should go. */
  unreached(from: number, packet: Uint8Array): void {
    this.context.router.unreached(from, packet);
  }

  /** Drops what waits for a port whose front-end went or changed its mind about offloads. */
  forget(port: Port): void {
    this.deliver.forget(port);
  }
}
