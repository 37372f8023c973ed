/** What the log says of a VM's and an adapter's day: each thing once, and as a warning what stops datagrams. */
import { afterEach, describe, expect, test } from 'vitest';
import { BASE_IP } from '../support/daemon.ts';
import { LAN_INTERFACE, Lan, NO_LAN } from '../support/lan.ts';
import { B, THREE_VMS, udpFrame } from '../support/traffic.ts';
import { until } from '../support/until.ts';
import type { Vm } from '../support/vm.ts';
import { World } from '../support/world.ts';

let lan: Lan | undefined;
let world: World | undefined;
afterEach(async () => {
  await world?.close();
  await lan?.close();
  world = undefined;
  lan = undefined;
});

/** Level and message of the lines about a VM or an adapter, in their order. */
function linesAbout(kind: 'vm' | 'adapter', name: string): string[] {
  return world!.daemon.lines
    .map((line) => JSON.parse(line) as Record<string, string>)
    .filter((line) => line[kind] === name)
    .map(({ level, msg }) => `${level}: ${msg}`);
}

async function start(under: string[] = []): Promise<Vm> {
  world = await World.start(
    {
      vms: { ...THREE_VMS, b: { ...THREE_VMS.b, management: true } },
      adapters: { uplink: { interface: LAN_INTERFACE, controllers: ['b'], lease: 1 } },
    },
    { under },
  );
  return world.vm('b');
}

const ask = (vm: Vm, op: string) =>
  vm.send(
    udpFrame(B, BASE_IP, Buffer.from(JSON.stringify({ id: 1, op, adapter: 'uplink' })), {
      ports: [4444, 7356],
    }),
  );

test('a VM that comes, runs, stops and goes', async () => {
  const vm = await start();
  await vm.stopRing(0);
  await until('it does not run', () => linesAbout('vm', 'b').length === 3);
  vm.close();
  await until('it is gone', () => linesAbout('vm', 'b').length === 4);
  expect(linesAbout('vm', 'b')).toEqual([
    'info: front-end connected',
    'info: running',
    expect.stringMatching(/^info: not running any more: /),
    'info: front-end disconnected: the front-end closed the connection',
  ]);
});

test('a VM with several queue pairs runs with its first one: its line does not say how many there are', async () => {
  world = await World.start({ vms: THREE_VMS });
  await world.vm('b', { pairs: 4 });
  const { queuePairs } = await world.daemon.vm('b');
  expect(queuePairs).toBe(4);
  const line = world.daemon.lines.find((each) => /"msg":"running"/.test(each))!;
  expect(JSON.parse(line)).not.toHaveProperty('queuePairs');
});

test('an adapter that can’t be opened is one line, however often somebody asks for it', async () => {
  const vm = await start();
  for (let times = 0; times < 3; times++) {
    await ask(vm, 'open');
    await vm.receive();
  }
  const lines = () => linesAbout('adapter', 'uplink');
  await until('it was refused', () => lines().some((line) => /opened/.test(line)));
  expect(lines()).toEqual([
    `warn: adapter can't be opened: there is no interface ${LAN_INTERFACE} on this host`,
  ]);
});

describe.skipIf(NO_LAN !== '')(`on a LAN${NO_LAN && ` (${NO_LAN})`}`, () => {
  test('an adapter that is opened, loses its controller, and its link for a while', async () => {
    lan = await Lan.start();
    const vm = await start(lan.under);
    await ask(vm, 'open');
    const lines = () => linesAbout('adapter', 'uplink');
    await until('no controller is left', () => lines().some((line) => /is left/.test(line)));
    lan.setLink('down');
    await until('it is down', () => lines().includes('warn: adapter is down'));
    lan.setLink('up');
    await until('it is up', () => lines().includes('info: adapter is open again'));
    expect(lines()).toEqual([
      `info: adapter opened on ${LAN_INTERFACE}`,
      'info: adapter controlled by b',
      'warn: lease of b ended',
      'warn: no controller is left: the adapter stays as it is (onControllerLoss: keep)',
      'warn: adapter is down',
      'info: adapter is open again',
    ]);
  });
});
