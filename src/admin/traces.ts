/**
 * `GET /v1/trace?vm=NAME&count=N&seconds=S`: the way of the next N datagrams that a VM sends or gets. Answers when they have come, or
 * with fewer after S seconds. Only so many traces at once, as each one makes the turns slower.
 */
import type { ToWorker } from '../base/messages.ts';
import type { TracedDatagram } from '../turn/trace.ts';

const MAX_TRACES = 4;
export const MAX_COUNT = 100;
export const MAX_SECONDS = 8;

export class Traces {
  readonly #send: (vm: number, message: ToWorker) => boolean;
  readonly #waiting = new Map<
    number,
    { vm: number; resolve: (datagrams: TracedDatagram[]) => void }
  >();
  #next = 1;

  /** `send` posts to the turn worker that owns the VM and wakes it; false when there is none now. */
  constructor(send: (vm: number, message: ToWorker) => boolean) {
    this.#send = send;
  }

  /** Null when too many are under way, or the turn worker is not running. */
  request(vm: number, count: number, seconds: number): Promise<TracedDatagram[]> | null {
    if (this.#waiting.size >= MAX_TRACES) return null;
    const id = this.#next++;
    if (!this.#send(vm, { kind: 'trace', id, vm, count })) return null;
    return new Promise((resolve) => {
      const timer = setTimeout(() => {
        if (this.#send(vm, { kind: 'traceEnd', id })) return;
        this.take(id, []);
      }, seconds * 1000);
      const done = (datagrams: TracedDatagram[]) => {
        clearTimeout(timer);
        resolve(datagrams);
      };
      this.#waiting.set(id, { vm, resolve: done });
    });
  }

  /** The turn worker's answer. */
  take(id: number, datagrams: TracedDatagram[]): void {
    const waiting = this.#waiting.get(id);
    this.#waiting.delete(id);
    waiting?.resolve(datagrams);
  }

  /** A turn worker is gone: nobody will answer for its VMs, those of which `gone` is true. */
  end(gone: (vm: number) => boolean): void {
    for (const [id, { vm }] of [...this.#waiting]) if (gone(vm)) this.take(id, []);
  }
}
