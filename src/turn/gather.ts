/**
 * The first stage: from the VMs' output buffers, the rings of other workers and the adapters' receive rings into base storage.
 * Every ring has a budget, and who comes first changes from turn to turn. Output buffers are given back right after the copies.
 */
import { haveWork } from '../adapter/adapter.ts';
import type { Handoff } from '../handoff/handoff.ts';
import type { Attachment } from '../port/attachment.ts';
import type { Ring } from '../port/ring.ts';
import { type Budget, discardOutput, gatherOutput } from '../port/output.ts';
import { discardPacked, gatherPacked } from '../port/packed-output.ts';
import { type GatherPlain, plainGather } from '../port/plain.ts';
import { type GatherPlainPacked, plainGatherPacked } from '../port/plain-packed.ts';
import type { Port } from '../port/port.ts';
import type { BaseStorage } from '../storage/base-storage.ts';
import type { CopyList } from '../storage/copy-list.ts';
import type { PackedQueue } from '../virtio/packed-queue.ts';
import { BROKEN } from '../virtio/virtqueue.ts';
import type { Attention } from './attention.ts';
import type { TurnContext } from './context.ts';
import type { Publish } from './publish.ts';
import { Shares } from './shares.ts';
import { Steering } from './steering.ts';

/** Of base storage, for adapters that have something, and as much for what other workers handed over. */
const KEPT_BYTES = 1 << 20;
const KEPT_SLOTS = 1024;
/**
 * Of turns that find nothing only one in so many looks at the receive rings, every few microseconds: each look takes a cache line from the core
 * that is just writing a frame there.
 */
const EMPTY_TURNS_PER_LAN = 8;

/** Which ports are meant. */
const ALL = 0;
const LIGHT = 1;
const HEAVY = 2;

export class Gather {
  private readonly context: TurnContext;
  private readonly storage: BaseStorage;
  private readonly copies: CopyList;
  private readonly cells: Float64Array;
  private readonly gatherPlain: GatherPlain;
  private readonly gatherPlainPacked: GatherPlainPacked;
  private readonly time: Float64Array;
  private readonly attention: Attention;
  private readonly publish: Publish;
  private readonly shares: Shares;
  private readonly steering: Steering;
  /** With whom the next gather begins, so that nobody is always last. */
  private first = 0;
  private firstAdapter = 0;
  /** Descriptors that the last port's chains had, and whether it filled the budget of a ring. */
  private walked = 0;
  private filled = false;
  /** Turns until the adapters' receive rings are looked at; 0 behind a turn that found something. */
  private untilLan = 0;
  /** Heavy ports had to wait in the last turn. */
  private passedOver = false;

  constructor(context: TurnContext, attention: Attention, publish: Publish) {
    this.context = context;
    this.storage = context.storage;
    this.copies = context.copies;
    this.cells = context.cells;
    this.gatherPlain = plainGather(context.storage, context.copies);
    this.gatherPlainPacked = plainGatherPacked(context.storage, context.copies);
    this.time = context.time;
    this.attention = attention;
    this.publish = publish;
    this.shares = new Shares(context.budget, this.time, context.ports.length);
    this.steering = new Steering(context.storage, context.ports, this.time);
  }

  /** Takes what is ready, within each ring's budget; how much was found. */
  run(): number {
    const { copies, context, shares } = this;
    const count = this.attention.active.length;
    copies.delivering = false;
    // Set back, not counted on: past 2^31, which takes minutes, V8 would go on with fractions, and an empty turn would take a third longer.
    if (++this.first >= count) this.first = 0;
    const { first } = this;
    // The LAN comes last, so that a neighbour's answer lets nothing overtake what waited for it; but VMs that fill base storage
    // must not keep it out.
    const lan = --this.untilLan < 0 && haveWork(context.adapters);
    if (lan) this.storage.keepBack(KEPT_BYTES, KEPT_SLOTS);
    const { handoff } = context;
    const handed = handoff?.hasWork() ?? false;
    if (handed) this.storage.keepBack(KEPT_BYTES, KEPT_SLOTS);
    let found = 0;
    if (shares.hurry) {
      found = this.gatherPorts(first, LIGHT, true);
      // What light ports brought does not wait for what heavy ones have, every other turn.
      this.passedOver = found > 0 && !this.passedOver;
      if (!this.passedOver) found += this.gatherPorts(first, HEAVY, true);
    } else found = this.gatherPorts(first, ALL, false);
    if (handed) {
      this.storage.release();
      if (lan) this.storage.keepBack(KEPT_BYTES, KEPT_SLOTS);
      found += handoff!.gather(shares.ofMany());
    }
    if (lan) {
      this.storage.release();
      found += this.gatherAdapters(shares.ofMany());
    }
    if (found > 0) {
      this.untilLan = 0;
      copies.gather();
      this.steering.note();
      this.publish.show();
      const { adapters } = context;
      for (let index = 0; index < adapters.length; index++) adapters[index].release();
      if (handed) handoff!.release();
    } else if (this.untilLan < 0) this.untilLan = EMPTY_TURNS_PER_LAN - 1;
    return found;
  }

  /** Takes only what other workers handed over: the base is ending, and what is in their rings was taken from VMs already. */
  runHanded(handoff: Handoff): number {
    this.copies.delivering = false;
    const found = handoff.gather(this.shares.ofMany());
    this.copies.gather();
    handoff.release();
    return found;
  }

  /** From the active ports of a kind, beginning with the `first`th. */
  private gatherPorts(first: number, kind: number, hurry: boolean): number {
    const { shares, time } = this;
    const { active } = this.attention;
    const count = active.length;
    let found = 0;
    let index = first;
    for (let left = count; left > 0; left--) {
      const port = active[index];
      const attachment = port.current;
      if (attachment !== null && (kind === ALL || port.heavy === (kind === HEAVY))) {
        const before = this.storage.fill;
        const taken = this.gatherPort(port, attachment, hurry);
        if (taken > 0) {
          port.lastWork = time[0];
          found += taken;
          shares.weigh(port, taken, this.walked, this.storage.fill - before, this.filled);
        }
      }
      if (++index === count) index = 0;
    }
    return found;
  }

  private gatherAdapters(budget: Budget): number {
    const { adapters } = this.context;
    const count = adapters.length;
    if (++this.firstAdapter >= count) this.firstAdapter = 0;
    let found = 0;
    let index = this.firstAdapter;
    for (let left = count; left > 0; left--) {
      const adapter = adapters[index];
      if (adapter.hasWork()) found += adapter.gather(budget.datagrams, budget.bytes);
      if (++index === count) index = 0;
    }
    return found;
  }

  private gatherPort(port: Port, attachment: Attachment, hurry: boolean): number {
    const { outputs } = attachment;
    // One budget for the whole port, however many rings it has.
    const budget = this.shares.budget(port, outputs.length, hurry);
    let found = 0;
    this.walked = 0;
    this.filled = false;
    for (let index = 0; index < outputs.length; index++) {
      const ring = outputs[index];
      const { queue } = ring;
      if (!queue.mayHaveWork()) continue;
      const first = this.storage.count;
      const taken =
        queue.format === 'packed'
          ? this.gatherPacked(ring, queue, port, attachment, budget)
          : ring.enabled
            ? gatherOutput(queue, port, attachment, budget, this.context, this.gatherPlain)
            : discardOutput(queue, port.firstCell, budget, this.cells);
      if (attachment.flows !== null) this.steering.brought(first, ring.pair);
      queue.disarm();
      this.walked += queue.walked;
      if (queue.filled) this.filled = true;
      this.publish.markUnshown(ring);
      if (taken > 0) found += taken;
      else if (taken === BROKEN) {
        // What was taken before it broke is shown; `outputs` is a new array after this.
        this.context.ringBroke(port, ring);
        return found + 1;
      }
    }
    return found;
  }

  private gatherPacked(
    ring: Ring,
    queue: PackedQueue,
    port: Port,
    attachment: Attachment,
    budget: Budget,
  ): number {
    const { context } = this;
    if (!ring.enabled)
      return discardPacked(queue, port.firstCell, attachment.memory, budget, context);
    return gatherPacked(queue, port, attachment, budget, context, this.gatherPlainPacked);
  }
}
