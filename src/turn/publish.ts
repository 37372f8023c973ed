/**
 * The last stage: shows drivers and kernel what was done for them, once per ring, and notifies at most once per ring.
 */
import { haveWork } from '../adapter/adapter.ts';
import type { Ring } from '../port/ring.ts';
import type { TurnContext } from './context.ts';
import { Notifications } from './notifications.ts';

export class Publish {
  private readonly context: TurnContext;
  private readonly notifications: Notifications;
  /** Rings with used elements that are not shown yet. */
  private readonly unshown: Ring[] = [];
  private unshownCount = 0;
  /** Rings that were shown in this turn, and whose drivers have not been asked yet. */
  private readonly shown: Ring[] = [];
  private shownCount = 0;
  /** Output rings of the last turn whose drivers were not asked then. */
  private readonly postponed: Ring[] = [];
  private postponedCount = 0;
  /** An atomic store is a full fence on x86-64, wherever it goes to. */
  private readonly fence = new Int32Array(1);

  constructor(context: TurnContext) {
    this.context = context;
    this.notifications = new Notifications(context.native, context.signalCosts);
  }

  /** The ring has used elements to show. */
  markUnshown(ring: Ring): void {
    if (ring.unshown) return;
    ring.unshown = true;
    this.unshown[this.unshownCount++] = ring;
  }

  /** Shows used elements, once per ring. */
  show(): void {
    for (let index = 0; index < this.unshownCount; index++) {
      const ring = this.unshown[index];
      ring.unshown = false;
      if (ring.queue.mapped && ring.queue.show()) this.shown[this.shownCount++] = ring;
    }
    this.unshownCount = 0;
  }

  /**
   * Asks the drivers of the rings that were shown whether they want to be interrupted: all behind one fence. Where the LAN has something
   * already, which may be the answer, output rings wait for one turn: whoever is told of a free buffer now may take the core before the
   * answer is there, and is told of both then.
   */
  private ask(): void {
    if (this.shownCount === 0 && this.postponedCount === 0) return;
    Atomics.store(this.fence, 0, 0);
    const mayPostpone = this.postponedCount === 0;
    this.askPostponed();
    for (let index = 0; index < this.shownCount; index++) {
      const ring = this.shown[index];
      if (ring.isInput) this.askDriver(ring);
      else this.postponed[this.postponedCount++] = ring;
    }
    this.shownCount = 0;
    // Only for output rings: where frames come in, each look takes a line from the core that is just writing one.
    if (this.postponedCount > 0 && !(mayPostpone && haveWork(this.context.adapters)))
      this.askPostponed();
  }

  private askPostponed(): void {
    for (let index = 0; index < this.postponedCount; index++) this.askDriver(this.postponed[index]);
    this.postponedCount = 0;
  }

  private askDriver(ring: Ring): void {
    const { queue, callFd } = ring;
    if (queue.mapped && queue.wantsSignal() && callFd >= 0) this.notifications.add(callFd, ring);
  }

  /** Before anything but a turn: what would be told with the next one. Rings may be mapped anew then, and nobody knows who was asked. */
  tell(): void {
    if (this.postponedCount === 0) return;
    this.ask();
    this.notifications.send();
  }

  /** Everything of this turn, but for `tell`. */
  publish(): void {
    this.show();
    const { adapters, handoff } = this.context;
    for (let index = 0; index < adapters.length; index++) adapters[index].publish();
    this.ask();
    handoff?.publish(this.notifications);
    this.notifications.send();
  }
}
