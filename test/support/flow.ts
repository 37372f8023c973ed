/**
 * The victims' traffic: two VMs exchange numbered, checksummed datagrams in both directions while something else happens.
 * Nothing may be lost, changed or reordered. Datagrams that are not of the flow are kept apart; another flow of the same VM may claim them.
 */
import { parse } from './packets.ts';
import { forwarded, type Host, udpFrame } from './traffic.ts';
import { until } from './until.ts';
import type { Received, Vm } from './vm.ts';

const FLOW_PORT = 7000;
const WINDOW = 64;
/** Milliseconds between steps, datagrams per step and direction: about 1 kpps. */
const INTERVAL = 2;
const PER_STEP = 2;

class Direction {
  readonly from: Vm;
  readonly to: Vm;
  readonly source: Host;
  readonly target: Host;
  readonly flight: Buffer[] = [];
  sent = 0;
  arrived = 0;

  constructor(from: Vm, source: Host, to: Vm, target: Host) {
    this.from = from;
    this.to = to;
    this.source = source;
    this.target = target;
  }

  send(): void {
    if (this.flight.length >= WINDOW) return;
    const payload = Buffer.alloc(40 + (this.sent % 1000), this.sent & 0xff);
    payload.writeUInt32BE(this.sent);
    const frame = udpFrame(this.source, this.target.ip, payload, { ports: [FLOW_PORT, FLOW_PORT] });
    if (!this.from.trySend(frame)) return;
    this.flight.push(forwarded(frame, this.target));
    this.sent++;
  }

  arrive(frame: Buffer): void {
    const expected = this.flight.shift();
    if (expected === undefined) throw new Error('a datagram of the flow came twice');
    if (!frame.equals(expected)) {
      const number = frame.readUInt32BE(42);
      throw new Error(
        `datagram ${this.arrived} of the flow ${this.source.ip} to ${this.target.ip}: ` +
          (number === this.arrived ? 'changed' : `${number} came instead`),
      );
    }
    this.arrived++;
  }
}

export class Flow {
  readonly #directions: Direction[];
  readonly #others = new Map<Vm, Received[]>();
  #timer: NodeJS.Timeout | null = null;
  #failure: Error | null = null;
  /** Takes a datagram that is not of this flow but of another one; true when it did. */
  claim: (vm: Vm, one: Received) => boolean = () => false;

  constructor(first: Vm, firstHost: Host, second: Vm, secondHost: Host) {
    this.#directions = [
      new Direction(first, firstHost, second, secondHost),
      new Direction(second, secondHost, first, firstHost),
    ];
    this.#others.set(first, []);
    this.#others.set(second, []);
  }

  start(): void {
    this.#timer ??= setInterval(() => this.#step(true), INTERVAL);
  }

  #step(send: boolean): void {
    if (this.#failure !== null) return;
    try {
      for (const direction of this.#directions) {
        if (send) for (let i = 0; i < PER_STEP; i++) direction.send();
        this.#sort(direction);
      }
    } catch (error) {
      this.#failure = error as Error;
    }
  }

  #sort(direction: Direction): void {
    direction.to.pollReceived();
    for (const one of direction.to.received.splice(0)) {
      const { frame } = one;
      if (frame.length > 46 && parse(frame).udp?.destinationPort === FLOW_PORT)
        direction.arrive(frame);
      else if (!this.claim(direction.to, one)) this.#others.get(direction.to)!.push(one);
    }
  }

  /** Takes in what has arrived, sends nothing. */
  poll(): void {
    this.#step(false);
  }

  /** The next datagram at a VM of the flow that does not belong to the flow. */
  async other(vm: Vm, milliseconds?: number): Promise<Received> {
    await until(
      'a datagram besides the flow',
      () => {
        this.#step(this.#timer !== null);
        if (this.#failure !== null) throw this.#failure;
        return this.#others.get(vm)!.length > 0;
      },
      milliseconds,
    );
    return this.#others.get(vm)!.shift()!;
  }

  /** How many datagrams besides the flow wait to be looked at. */
  others(vm: Vm): Received[] {
    return this.#others.get(vm)!;
  }

  get arrived(): number {
    return this.#directions.reduce((sum, direction) => sum + direction.arrived, 0);
  }

  /** Waits until at least `count` more datagrams have arrived, so that something has been seen to flow. */
  async advance(count = 20): Promise<void> {
    const goal = this.arrived + count;
    await until('the flow to go on', () => {
      if (this.#failure !== null) throw this.#failure;
      return this.arrived >= goal;
    });
  }

  /** Stops sending; everything that was sent must have arrived, and nothing else. */
  async finish(): Promise<void> {
    this.stop();
    await until('the rest of the flow', () => {
      this.#step(false);
      if (this.#failure !== null) throw this.#failure;
      return this.#directions.every((direction) => direction.flight.length === 0);
    }).catch((error: Error) => {
      const lost = this.#directions.map(
        (one) => `${one.source.ip}: ${one.flight.length} of ${one.sent}`,
      );
      throw new Error(`${error.message}; not arrived from ${lost.join(', ')}`);
    });
  }

  stop(): void {
    if (this.#timer !== null) clearInterval(this.#timer);
    this.#timer = null;
  }
}
