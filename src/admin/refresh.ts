/**
 * A fresh look before an answer: the turn workers show how their ports stand when that changed, but not every change at once
 * (base/port-control.ts). Who asks gets it as it stands now.
 */
import type { ToWorker } from '../base/messages.ts';

/** A worker answers between two turns. One that does not is answered for by what it showed last. */
const PATIENCE_MS = 200;

export class Refresh {
  readonly #send: (message: ToWorker) => number;
  readonly #waiting = new Map<number, { left: number; done: () => void }>();
  #next = 1;

  /** `send` posts to every turn worker that runs, and returns how many there are. */
  constructor(send: (message: ToWorker) => number) {
    this.#send = send;
  }

  /** Resolves when every worker has shown what was not shown yet. Never rejects. */
  request(): Promise<void> {
    const id = this.#next++;
    const left = this.#send({ kind: 'show', id });
    if (left === 0) return Promise.resolve();
    return new Promise((resolve) => {
      const timer = setTimeout(() => this.#end(id), PATIENCE_MS);
      const done = () => {
        clearTimeout(timer);
        resolve();
      };
      this.#waiting.set(id, { left, done });
    });
  }

  /** A worker has shown it all. */
  take(id: number): void {
    const waiting = this.#waiting.get(id);
    if (waiting !== undefined && --waiting.left === 0) this.#end(id);
  }

  #end(id: number): void {
    const waiting = this.#waiting.get(id);
    this.#waiting.delete(id);
    waiting?.done();
  }
}
