// A port of the test's own beside the guests, which is never silent: it asks each guest a hundred
// times a second (ICMP echo), and notes when datagrams came from them. Across restarts of the base
// it connects again at once. No guest's timer and no counter of the base is in what it sees.

import { type Host, echoFrame } from '../support/traffic.ts';
import { parse } from '../support/packets.ts';
import { Vm } from '../support/vm.ts';
import { sleep, until } from '../../qemu/wait.ts';

const INTERVAL = 10;
const ECHO_REPLY = 0;

/** When a guest's datagrams came, in milliseconds since 1970, since `forget`. */
export interface Seen {
  /** The first of any kind that it sent. */
  heard: number | undefined;
  /** The first answer: one that was asked before reached it, and this one came out. */
  answered: number | undefined;
}

export class Witness {
  readonly #socket: string;
  readonly #self: Host;
  readonly #guests: Map<string, string>;
  readonly #seen = new Map<string, Seen>();
  #sequence = 0;
  #stopping = false;
  #loop: Promise<void> | undefined;

  /** @param guests names and addresses */
  constructor(socket: string, self: Host, guests: Record<string, string>) {
    this.#socket = socket;
    this.#self = self;
    this.#guests = new Map(Object.entries(guests));
  }

  /** Begins to ask; resolves when every guest has answered. */
  async start(): Promise<void> {
    this.#stopping = false;
    this.forget();
    this.#loop = this.#run();
    await this.all();
  }

  async stop(): Promise<void> {
    this.#stopping = true;
    await this.#loop;
  }

  /** The base was killed: what follows is seen anew. */
  forget(): void {
    for (const name of this.#guests.keys()) {
      this.#seen.set(name, { heard: undefined, answered: undefined });
    }
  }

  seen(name: string): Seen {
    const seen = this.#seen.get(name);
    if (!seen) throw new Error(`no guest ${name}`);
    return seen;
  }

  /** Resolves when every guest has answered since `forget`. */
  async all(): Promise<void> {
    await until('every guest to answer the witness', 30_000, () => {
      return [...this.#seen.values()].every(({ answered }) => answered !== undefined);
    });
  }

  async #run(): Promise<void> {
    while (!this.#stopping) {
      const vm = await Vm.start(this.#socket).catch(() => undefined);
      if (vm === undefined) continue; // the base ended meanwhile
      try {
        while (!this.#stopping && !vm.frontEnd.closed) {
          for (const address of this.#guests.values()) {
            vm.trySend(echoFrame(this.#self, address, ++this.#sequence & 0xffff));
          }
          await sleep(INTERVAL);
          vm.pollReceived();
          vm.frontEnd.poll();
          this.#note(vm);
        }
      } finally {
        vm.close();
      }
    }
  }

  #note(vm: Vm): void {
    const now = Date.now();
    for (const { frame } of vm.received.splice(0)) {
      const { ip, icmp } = parse(frame);
      for (const [name, address] of this.#guests) {
        if (ip?.source !== address) continue;
        const seen = this.seen(name);
        seen.heard ??= now;
        if (icmp?.type === ECHO_REPLY) seen.answered ??= now;
      }
    }
  }
}
