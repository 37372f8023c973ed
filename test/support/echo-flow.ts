/**
 * A victim's traffic with the LAN: numbered datagrams to the echo port of the LAN's host, which must come back in order and unchanged.
 */
import { LAN_ECHO_PORT, LAN_IP } from './lan.ts';
import { parse } from './packets.ts';
import { type Host, udpFrame } from './traffic.ts';
import { until } from './until.ts';
import type { Received, Vm } from './vm.ts';

const OWN_PORT = 7001;
const WINDOW = 32;
/**
 * Before the first echo: the kernel of the LAN's host does not know the VM's MAC yet, and when the answer to its question comes it
 * sends what waited for it one by one, while what it sends just then overtakes (neigh_update). So nothing else may be under way
 * meanwhile.
 */
const FIRST_WINDOW = 1;
const INTERVAL = 2;

export class EchoFlow {
  readonly vm: Vm;
  readonly host: Host;
  readonly others: Received[] = [];
  sent = 0;
  arrived = 0;
  /** How often it has looked, and could have sent. */
  steps = 0;
  #timer: NodeJS.Timeout | null = null;
  #failure: Error | null = null;
  readonly #poll: () => void;

  /** `poll` where someone else takes the VM's datagrams in and offers them to `claim`. */
  constructor(vm: Vm, host: Host, poll?: () => void) {
    this.vm = vm;
    this.host = host;
    this.#poll = poll ?? (() => this.#pollAlone());
  }

  #pollAlone(): void {
    this.vm.pollReceived();
    for (const one of this.vm.received.splice(0)) {
      if (!this.claim(one)) this.others.push(one);
    }
  }

  #payload(number: number): Buffer {
    const payload = Buffer.alloc(20 + ((number * 37) % 1400), number & 0xff);
    payload.writeUInt32BE(number);
    return payload;
  }

  #step(send: boolean): void {
    this.steps++;
    try {
      const window = this.arrived === 0 ? FIRST_WINDOW : WINDOW;
      if (send && this.sent - this.arrived < window) {
        const frame = udpFrame(this.host, LAN_IP, this.#payload(this.sent), {
          ports: [OWN_PORT, LAN_ECHO_PORT],
          ip: { flags: 0 },
        });
        if (this.vm.trySend(frame)) this.sent++;
      }
      this.#poll();
    } catch (error) {
      this.#failure ??= error as Error;
    }
  }

  /** True when it is an answer to one of ours; remembers what is wrong with it. */
  claim(one: Received): boolean {
    const got = parse(one.frame);
    if (got.udp?.destinationPort !== OWN_PORT || got.ip?.source !== LAN_IP) return false;
    if (got.problems.some((problem) => problem !== '') && got.checksum !== 'partial') {
      this.#failure ??= new Error(`an echo came back broken: ${got.problems.join()}`);
    } else if (!got.udp.payload.equals(this.#payload(this.arrived))) {
      const number = got.udp.payload.readUInt32BE();
      this.#failure ??= new Error(`echo ${number} came instead of ${this.arrived}`);
    }
    this.arrived++;
    return true;
  }

  start(): void {
    this.#timer ??= setInterval(() => this.#step(true), INTERVAL);
  }

  stop(): void {
    if (this.#timer !== null) clearInterval(this.#timer);
    this.#timer = null;
  }

  async advance(count = 20): Promise<void> {
    const goal = this.arrived + count;
    await until('echoes from the LAN', () => {
      if (this.#failure !== null) throw this.#failure;
      return this.arrived >= goal;
    }).catch((error: Error) => {
      throw new Error(`${error.message} (${this.arrived} of ${this.sent} have come)`);
    });
  }

  /** Stops sending; every datagram must have come back. */
  async finish(): Promise<void> {
    this.stop();
    await until(`the rest of the echoes (${this.arrived} of ${this.sent})`, () => {
      this.#step(false);
      if (this.#failure !== null) throw this.#failure;
      return this.arrived === this.sent;
    });
  }

  /** Begins to count anew, after a `finish`: what is sent from there to the next start may be lost. */
  restart(): void {
    this.stop();
    this.#poll();
    this.sent = 0;
    this.arrived = 0;
  }
}
