/**
 * The last stage: shows drivers and kernel what was done for them, once per ring, and notifies at most once per ring.
 */
import { MAX_WORKERS } from '../handoff/layout.ts';
import type { Native } from '../native.ts';
import type { Ring } from '../port/attachment.ts';
import type { TurnContext } from './context.ts';

const MAX_SIGNALS = 1024;

export class Publish {
  private readonly context: TurnContext;
  private readonly native: Native;
  /** Rings with used elements that are not shown yet. */
  private readonly dirty: Ring[] = [];
  private dirtyCount = 0;
  private readonly signals = new Int32Array(MAX_SIGNALS);
  private signalCount = 0;

  constructor(context: TurnContext) {
    this.context = context;
    this.native = context.native;
  }

  /** The ring has used elements to show. */
  markDirty(ring: Ring): void {
    if (ring.dirty) return;
    ring.dirty = true;
    this.dirty[this.dirtyCount++] = ring;
  }

  /** Shows used elements, once per ring. */
  show(): void {
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
    this.native.signalAll(this.signals, this.signalCount);
    this.signalCount = 0;
  }

  /** Everything of this turn. */
  publish(): void {
    this.show();
    for (const adapter of this.context.adapters) adapter.publish();
    const { handoff } = this.context;
    if (handoff !== null) {
      if (this.signalCount + MAX_WORKERS > MAX_SIGNALS) this.signal();
      this.signalCount = handoff.publish(this.signals, this.signalCount);
    }
    this.signal();
  }
}
