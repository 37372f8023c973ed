/** A VM whose MAC the configuration leaves out: learned from its first frame, kept while its driver runs, forgotten when that stops. */
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { parse } from '../support/packets.ts';
import { A, B, THREE_VMS, udpFrame } from '../support/traffic.ts';
import { until } from '../support/until.ts';
import type { Vm } from '../support/vm.ts';
import { World } from '../support/world.ts';

const NEW_MAC = '52:54:00:00:ff:0a';
let world: World;
let a: Vm;
let b: Vm;

beforeAll(async () => {
  world = await World.start({ vms: { ...THREE_VMS, a: { addresses: [A.ip] } } });
  b = await world.vm('b');
});
afterEach(() => world.balance());
afterAll(() => world?.close());

/** What `a` sends from `mac` arrives. */
async function passes(mac: string, text: string): Promise<void> {
  await a.send(udpFrame({ mac, ip: A.ip }, B.ip, Buffer.from(text)));
  expect(parse((await b.receive()).frame).udp?.payload.toString()).toBe(text);
}

async function isSpoofed(mac: string): Promise<void> {
  const before = await world.daemon.count('a', 'spoofed');
  await a.send(udpFrame({ mac, ip: A.ip }, B.ip, Buffer.from('spoofed')));
  await world.daemon.untilCount('a', 'spoofed', before + 1);
}

async function untilShown(mac: string | null): Promise<void> {
  await until(
    `its MAC to be shown as ${mac}`,
    async () => (await world.daemon.vm('a')).mac === mac,
  );
}

test('the first frame decides, and another MAC is spoofed', async () => {
  a = await world.vm('a');
  await passes(A.mac, 'first');
  await untilShown(A.mac);
  await isSpoofed(NEW_MAC);
  await passes(A.mac, 'still');
});

test('the driver is reset: it may come back with another one', async () => {
  const bases = [await a.stopRing(0)];
  await a.startRing(0, bases[0]);
  await isSpoofed(NEW_MAC); // its other ring has run all the time
  for (const index of [0, 1]) bases[index] = await a.stopRing(index);
  await untilShown(null);
  for (const index of [0, 1]) await a.startRing(index, bases[index]);
  await world.daemon.untilState('a', 'running');
  await passes(NEW_MAC, 'new');
  await untilShown(NEW_MAC);
  await isSpoofed(A.mac);
});

test('so may the next front-end', async () => {
  a.close();
  await world.daemon.untilState('a', 'waiting');
  a = await world.vm('a');
  await passes(A.mac, 'again');
});
