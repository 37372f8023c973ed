/**
 * Two honest VMs under faults: numbered datagrams from b to c. When the base or its worker went away they reconnect as QEMU does, with their
 * memory and rings as they are. What arrives must be whole and in order of its numbers, apart from repeats after a restart.
 */
import { expect } from 'vitest';
import type { Daemon } from '../support/daemon.ts';
import { parse } from '../support/packets.ts';
import { B, C, udpFrame } from '../support/traffic.ts';
import { until } from '../support/until.ts';
import { Vm } from '../support/vm.ts';

const PORT = 7001;

export class Pair {
  readonly daemon: Daemon;
  b!: Vm;
  c!: Vm;
  sent = 0;
  arrived = 0;
  /** The number that came last. */
  last = -1;
  /** Reconnections so far. */
  reconnections = 0;

  private constructor(daemon: Daemon) {
    this.daemon = daemon;
  }

  static async start(daemon: Daemon): Promise<Pair> {
    const pair = new Pair(daemon);
    pair.b = await Vm.start(daemon.socket('b'));
    pair.c = await Vm.start(daemon.socket('c'));
    return pair;
  }

  /** Sends one if there is room, takes what has come. */
  step(): void {
    const payload = Buffer.alloc(60 + (this.sent % 900), this.sent & 0xff);
    payload.writeUInt32BE(this.sent);
    if (this.b.trySend(udpFrame(B, C.ip, payload, { ports: [PORT, PORT] }))) this.sent++;
    this.take();
  }

  take(): void {
    this.c.pollReceived();
    for (const { frame } of this.c.received.splice(0)) {
      const got = parse(frame);
      if (got.udp?.destinationPort !== PORT) continue;
      expect(got.problems).toEqual([]);
      const { payload } = got.udp;
      const number = payload.readUInt32BE();
      expect(payload.length).toBe(60 + (number % 900));
      expect(payload.subarray(4).every((byte) => byte === (number & 0xff))).toBe(true);
      expect(number).toBeLessThan(this.sent);
      this.last = number;
      this.arrived++;
    }
  }

  /** Takes what has come; whether a datagram after `number` is among it. */
  takenUpTo(number: number): boolean {
    this.take();
    return this.last > number;
  }

  get cut(): boolean {
    this.b.frontEnd.poll();
    this.c.frontEnd.poll();
    return this.b.frontEnd.closed || this.c.frontEnd.closed;
  }

  /** Both come back to where they were. */
  async reattach(): Promise<void> {
    for (const name of ['b', 'c'] as const) {
      const vm = await until(`${name} to be let in again`, () =>
        this[name].reconnect(this.daemon.socket(name)).catch(() => null),
      );
      this[name] = vm;
      await vm.negotiate();
      await vm.applyFeatures();
      await vm.shareMemory();
      for (const index of [0, 1]) {
        await vm.enable(index, true);
        await vm.startRing(index, vm.queues[index].usedBase);
      }
    }
    this.reconnections++;
  }

  /** Something that is sent from now on arrives. */
  async untilFlows(): Promise<void> {
    const from = this.sent;
    await until('datagrams to flow', () => {
      if (this.last < from) this.step();
      return this.last >= from;
    });
  }

  /** Without faults nothing is lost. */
  async expectNoLoss(count: number): Promise<void> {
    await this.b.untilSent();
    await this.untilFlows();
    await until('the rest', () => {
      this.take();
      return this.last === this.sent - 1;
    });
    const { arrived, sent } = this;
    while (this.sent < sent + count) {
      this.step();
      if (this.sent % 16 === 0) await until('the window', () => this.takenUpTo(this.sent - 64));
    }
    await until('all to arrive', () => this.takenUpTo(this.sent - 2));
    expect(this.arrived - arrived).toBe(this.sent - sent);
  }

  close(): void {
    this.b?.close();
    this.c?.close();
  }
}
