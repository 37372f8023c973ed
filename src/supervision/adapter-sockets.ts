/**
 * The adapters' packet sockets on their way from the main thread, which opens them, to the turn worker that owns the adapters: whose
 * they are until the worker has descriptors of its own, and what is left of them when it fails.
 */
import { closeSockets, NO_SOCKETS, type PacketSockets } from '../adapter/packet-sockets.ts';
import type { ToWorker } from '../base/messages.ts';
import type { AdapterPlan } from '../plan.ts';
import { native } from '../native.ts';
import { forwardedByHost } from './host-forwarding.ts';
import { type AdapterAnswer, BUSY, openAdapter } from './open-adapter.ts';

/** Milliseconds between two tries while an interface has frames of before to send, and for how long: a management guest gets its answer within five seconds. */
const BUSY_INTERVAL = 50;
const BUSY_FOR = 4500;

export class AdapterSockets {
  readonly #plans: readonly AdapterPlan[];
  readonly #kept: readonly PacketSockets[];
  readonly #send: (message: ToWorker) => boolean;
  readonly #warn: (adapter: string, message: string) => void;
  /** Sent to the worker, by adapter, until it has descriptors of its own. */
  readonly #sent = new Map<number, Extract<AdapterAnswer, { kind: 'adapterOpened' }>>();
  /** Of adapters that are tried again, by adapter. */
  readonly #tries = new Map<number, NodeJS.Timeout>();
  /** Adapters whose datagrams the host forwards, too, which was logged. */
  readonly #forwarded = new Set<AdapterPlan>();

  /**
   * `kept`: packet sockets kept per adapter (privileges.ts), ours from here on. `send` posts to the worker that owns the adapters; false when
   * there is none. `warn` logs for people.
   */
  constructor(
    plans: readonly AdapterPlan[],
    kept: readonly PacketSockets[],
    send: (message: ToWorker) => boolean,
    warn: (adapter: string, message: string) => void,
  ) {
    this.#plans = plans;
    this.#kept = kept;
    this.#send = send;
    this.#warn = warn;
  }

  /** Opens an adapter for the worker, which hears, and logs, what became of it. */
  open(adapter: number): void {
    if (this.#plans[adapter]) this.#try(adapter, performance.now() + BUSY_FOR);
  }

  #try(adapter: number, end: number): void {
    clearTimeout(this.#tries.get(adapter));
    const plan = this.#plans[adapter]!;
    let answer = openAdapter(adapter, plan, this.#kept[adapter]);
    if (answer === BUSY) {
      if (performance.now() < end) {
        const again = setTimeout(() => this.#try(adapter, end), BUSY_INTERVAL);
        this.#tries.set(adapter, again.unref());
        return;
      }
      const reason = `${plan.interface} has not sent yet what it was given before`;
      answer = { kind: 'adapterRefused', adapter, reason };
    }
    if (answer.kind === 'adapterOpened') {
      this.#sent.set(adapter, answer);
      this.#warnOfForwarding(plan);
    }
    if (!this.#send(answer)) this.taken(adapter, false);
  }

  /** The worker has its own descriptors of an adapter's packet sockets; or, not `taken`, will never have any: they are ended. */
  taken(adapter: number, taken: boolean): void {
    const sent = this.#sent.get(adapter);
    if (sent === undefined) return;
    this.#sent.delete(adapter);
    const { fd, doorbell, interfaceIndex } = sent;
    if (taken) for (const each of [fd, doorbell.fd]) native.closeDescriptor(each);
    else {
      const { mac } = this.#plans[adapter]!;
      closeSockets(native, { rings: fd, doorbell: doorbell.fd }, interfaceIndex, mac);
    }
  }

  /** The worker failed. It left its adapters' sockets bound, with rings; closing its descriptors does not end the kept ones. */
  workerLost(): void {
    for (const again of this.#tries.values()) clearTimeout(again);
    for (const adapter of [...this.#sent.keys()]) this.taken(adapter, false);
    this.#kept.forEach((sockets, adapter) => {
      const plan = this.#plans[adapter]!;
      try {
        quieten(sockets, plan);
      } catch (error) {
        // No descriptor is left, most likely. They are quiet when the adapter is opened next, if not before.
        this.#warn(plan.name, `its packet sockets go on receiving: ${(error as Error).message}`);
      }
    });
  }

  /** Once for each adapter, when it is opened: then it matters. */
  #warnOfForwarding(plan: AdapterPlan): void {
    if (this.#forwarded.has(plan)) return;
    const forwarded = forwardedByHost(plan, native);
    if (forwarded === '') return;
    this.#forwarded.add(plan);
    this.#warn(plan.name, forwarded);
  }
}

/** Has kept sockets receive nothing more; they stay open. */
function quieten({ rings, doorbell }: PacketSockets, { mac, interface: name }: AdapterPlan): void {
  let index = 1;
  try {
    index = native.interfaceInfo(name).index;
  } catch {
    // No such interface now, so nothing is bound to it: any index will do.
  }
  // One after the other: few descriptors may be left.
  if (rings >= 0)
    closeSockets(native, { ...NO_SOCKETS, rings: native.duplicate(rings) }, index, mac);
  if (doorbell < 0) return;
  closeSockets(native, { ...NO_SOCKETS, doorbell: native.duplicate(doorbell) }, index, mac);
}
