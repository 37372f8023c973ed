/**
 * A VM with two sockets moves from one front-end to the other and back under traffic, as QEMU does in a migration on one host (docs/decisions/0013-several-front-ends.md):
 * the new one connects while the old one runs, whose rings then stop, and the new one's start where they stood. What the VM sends is neither lost nor
 * reordered, nor comes twice; of what is sent to it nothing is reordered. With two turn workers.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { FrontEnd } from '../support/frontend.ts';
import { parse } from '../support/packets.ts';
import { LONG } from '../support/random.ts';
import { A, B, type Host, THREE_VMS, udpFrame } from '../support/traffic.ts';
import { until } from '../support/until.ts';
import { Vm } from '../support/vm.ts';
import { World } from '../support/world.ts';

const MOVES = LONG ? 1500 : 100;
const BURST = 20;
/** So many under way find room everywhere, though a worker has no processor for a while. */
const WINDOW = 100;

let folder: string;
let sockets: [string, string];
let world: World;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'basewire-test-'));
  sockets = [join(folder, 'a.1'), join(folder, 'a.2')];
  const a = { ...THREE_VMS.a, socket: undefined, sockets };
  world = await World.start({ vms: { ...THREE_VMS, a }, datapath: { workers: 2 } });
});
afterAll(async () => {
  await world?.close();
  rmSync(folder, { recursive: true, force: true });
});

/** One way of the traffic: numbered datagrams. */
class Numbered {
  readonly source: Host;
  readonly target: Host;
  readonly window: number;
  sent = 0;
  last = -1;

  constructor(source: Host, target: Host, window = Number.POSITIVE_INFINITY) {
    this.source = source;
    this.target = target;
    this.window = window;
  }

  send(vm: Vm): void {
    for (let count = 0; count < BURST && this.sent - this.last <= this.window; count++) {
      const payload = Buffer.alloc(100);
      payload.writeUInt32BE(this.sent);
      if (vm.trySend(udpFrame(this.source, this.target.ip, payload))) this.sent++;
    }
  }

  /** The numbers of what has come. */
  *take(vm: Vm): IterableIterator<number> {
    vm.pollReceived();
    for (const { frame } of vm.received.splice(0)) {
      const { udp } = parse(frame);
      if (udp !== undefined) yield udp.payload.readUInt32BE();
    }
  }
}

/** QEMU's order. Resolves with the VM on its new connection, and the old one, which is still there. */
async function move(from: Vm, socket: string): Promise<[Vm, FrontEnd]> {
  const old = from.frontEnd;
  const close = old.close.bind(old);
  old.close = () => {}; // not yet
  const vm = world.adopt(await from.reconnect(socket));
  await vm.negotiate();
  await vm.applyFeatures();
  await vm.shareMemory();
  for (const index of [0, 1]) await vm.enable(index, true);
  for (const index of [0, 1]) await old.getVringBase(index);
  for (const index of [0, 1]) await vm.startRing(index, vm.queues[index].usedBase);
  old.close = close;
  return [vm, old];
}

test('to and fro under traffic: nothing is lost on the way out, nothing overtakes', {
  timeout: LONG ? 600_000 : 60_000,
}, async () => {
  const b = await world.vm('b');
  let a = world.adopt(await Vm.start(sockets[0]));
  const into = new Numbered(B, A);
  const out = new Numbered(A, B, WINDOW);
  const traffic = (): void => {
    into.send(b);
    out.send(a);
    take();
  };
  const take = (): void => {
    for (const number of into.take(a)) {
      expect(number, 'at a: behind the one before').toBeGreaterThan(into.last);
      into.last = number;
    }
    for (const number of out.take(b)) {
      expect(number, 'at b: the next one').toBe(out.last + 1);
      out.last = number;
    }
  };
  for (let count = 1; count <= MOVES; count++) {
    for (let round = 0; round < 5; round++) traffic();
    const [next, old] = await move(a, sockets[count % 2]);
    a = next;
    traffic();
    old.close();
  }
  const { sent } = into;
  await until('traffic to go on', () => {
    traffic();
    return into.last >= sent;
  });
  await until('the rest', () => {
    take();
    return out.last === out.sent - 1;
  });
  await world.balance();
});
