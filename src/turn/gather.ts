/**
 * The first stage: from the VMs' output buffers and the adapters' receive rings into base storage. Every ring has a budget, and
 * who comes first changes from turn to turn. Output buffers are given back right after the copies.
 */
import { type Attachment, MAX_PAIRS, type Ring } from '../port/attachment.ts';
import { type Budget, discardOutput, gatherOutput } from '../port/output.ts';
import { discardPacked, gatherPacked } from '../port/packed-output.ts';
import type { Port } from '../port/port.ts';
import type { BaseStorage } from '../storage/base-storage.ts';
import type { CopyList } from '../storage/copy-list.ts';
import type { PackedQueue } from '../virtio/packed-queue.ts';
import { BROKEN } from '../virtio/split-queue.ts';
import type { Attention } from './attention.ts';
import type { TurnContext } from './context.ts';
import type { Publish } from './publish.ts';

/** Of base storage, for adapters that have something. */
const KEPT_BYTES = 1 << 20;
const KEPT_SLOTS = 1024;

export class Gather {
  private readonly context: TurnContext;
  private readonly storage: BaseStorage;
  private readonly copies: CopyList;
  private readonly cells: Float64Array;
  private readonly time: Float64Array;
  private readonly attention: Attention;
  private readonly publish: Publish;
  /** A port's budget for each of its rings, by how many it has. */
  private readonly budgets: Budget[];
  /** With whom the next gather begins, so that nobody is always last. */
  private first = 0;

  constructor(context: TurnContext, attention: Attention, publish: Publish) {
    this.context = context;
    this.storage = context.storage;
    this.copies = context.copies;
    this.cells = context.counters.cells;
    this.time = context.router.time;
    this.attention = attention;
    this.publish = publish;
    const { datagrams, descriptors, bytes } = context.budget;
    this.budgets = Array.from({ length: MAX_PAIRS + 1 }, (_, rings) => {
      const share = Math.max(1, rings);
      return {
        datagrams: Math.ceil(datagrams / share),
        descriptors: Math.ceil(descriptors / share),
        bytes: Math.ceil(bytes / share),
      };
    });
  }

  /** Takes what is ready, within each ring's budget; how much was found. */
  run(): number {
    const { copies, context, time } = this;
    const { active } = this.attention;
    copies.delivering = false;
    let found = 0;
    const count = active.length;
    let index = count > 0 ? this.first++ % count : 0;
    // The LAN comes last, so that a neighbour's answer lets nothing overtake what waited for it; but VMs that fill base storage
    // must not keep it out.
    const lan = this.lanHasWork();
    if (lan) this.storage.keepBack(KEPT_BYTES, KEPT_SLOTS);
    for (let left = count; left > 0; left--) {
      const port = active[index];
      const attachment = port.current;
      if (attachment !== null) {
        const taken = this.gatherPort(port, attachment);
        if (taken > 0) {
          port.lastWork = time[0];
          found += taken;
        }
      }
      if (++index === count) index = 0;
    }
    if (lan) {
      this.storage.release();
      found += this.gatherAdapters();
    }
    if (found > 0) {
      copies.gather();
      this.publish.show();
      for (const adapter of context.adapters) adapter.release();
    }
    return found;
  }

  private lanHasWork(): boolean {
    for (const adapter of this.context.adapters) if (adapter.hasWork()) return true;
    return false;
  }

  private gatherAdapters(): number {
    const { adapters, budget } = this.context;
    let found = 0;
    for (const adapter of adapters) {
      if (adapter.hasWork()) found += adapter.gather(budget.datagrams, budget.bytes);
    }
    return found;
  }

  private gatherPort(port: Port, attachment: Attachment): number {
    const { outputs } = attachment;
    // One budget for the whole port, however many rings it has.
    const budget = this.budgets[outputs.length];
    let found = 0;
    for (let index = 0; index < outputs.length; index++) {
      const ring = outputs[index];
      const { queue } = ring;
      if (!queue.mayHaveWork()) continue;
      const taken =
        queue.format === 'packed'
          ? this.gatherPacked(ring, queue, port, attachment, budget)
          : ring.enabled
            ? gatherOutput(
                queue,
                port.record,
                attachment.headerBytes,
                attachment.memory,
                this.storage,
                this.copies,
                this.context.chain,
                budget,
                port.number,
                this.cells,
              )
            : discardOutput(queue, port.record, budget, this.cells);
      queue.disarm();
      this.publish.markDirty(ring);
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
    const { chain, packedChain } = this.context;
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
}
