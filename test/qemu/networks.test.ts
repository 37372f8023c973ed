// Two networks in one base: nothing passes from one to the other, though the guests try. And one
// VM with several addresses and a prefix behind it.

import { rmSync } from 'node:fs';
import { afterAll, afterEach, beforeAll, expect, onTestFailed, test } from 'vitest';
import { attachment } from '../../qemu/attachment.ts';
import { systemQemu } from '../../qemu/qemu.ts';
import { Vm } from '../../qemu/vm.ts';
import { Daemon, type Traffic } from '../support/daemon.ts';
import { balanced } from './books.ts';
import { suite } from './suite.ts';

/** A guest: its network's first three bytes, its addresses' last ones. */
const GUESTS = {
  router: { network: 'red', subnet: '10.81.0', hosts: [11, 12, 200], prefixes: ['192.0.2.0/24'] },
  client: { network: 'red', subnet: '10.81.0', hosts: [20], prefixes: [] },
  stranger: { network: 'blue', subnet: '10.82.0', hosts: [11], prefixes: [] },
};
const RED_MAC = '02:00:00:00:81:01';
type Name = keyof typeof GUESTS;
const NAMES = Object.keys(GUESTS) as Name[];

suite('several networks, addresses and prefixes', ['guests'], (can) => {
  let daemon: Daemon;
  const vms = {} as Record<Name, Vm>;

  beforeAll(async () => {
    if (!can) return;
    daemon = await Daemon.start({
      networks: {
        red: { subnet: '10.81.0.0/24', address: '10.81.0.1', mac: RED_MAC },
        blue: { subnet: '10.82.0.0/24', address: '10.82.0.1' },
      },
      vms: Object.fromEntries(
        NAMES.map((name) => {
          const { network, subnet, hosts, prefixes } = GUESTS[name];
          const addresses = hosts.map((host) => `${subnet}.${host}`);
          return [name, { network, addresses, ...(prefixes.length > 0 && { prefixes }) }];
        }),
      ),
    });
    const qemu = systemQemu()!;
    for (const name of NAMES) {
      const { subnet, hosts } = GUESTS[name];
      vms[name] = new Vm({
        name,
        qemu,
        folder: daemon.folder,
        attachment: attachment({ config: daemon.configPath, vm: name, qemu }),
        settings: { name, address: `${subnet}.${hosts[0]}/24`, gateway: `${subnet}.1` },
      });
    }
    await Promise.all(NAMES.map((name) => vms[name].start()));
    const more = ['ip addr add 10.81.0.12/24 dev eth0', 'ip addr add 10.81.0.200/24 dev eth0'];
    await vms.router.ok([...more, 'ip addr add 192.0.2.77/32 dev lo'].join(' && '));
  }, 300_000);

  afterAll(async () => {
    await Promise.all(Object.values(vms).map((vm) => vm.stop()));
    if (!daemon) return;
    await daemon.stop();
    rmSync(daemon.folder, { recursive: true, force: true });
  });

  afterEach(async () => {
    if (can) await balanced(daemon);
  });

  function way(name: string, body: () => Promise<void>): void {
    test(name, async () => {
      onTestFailed(() => {
        const guests = Object.values(vms).map((vm) => vm.transcript());
        process.stderr.write(`${[...guests, ...daemon.lines].join('\n')}\n`);
      });
      await body();
    });
  }

  for (const address of ['10.81.0.11', '10.81.0.12', '10.81.0.200', '192.0.2.77']) {
    way(`the VM with several addresses is reached at ${address}, and answers from it`, async () => {
      const { datagrams } = await intoOf('router');
      const output = await vms.client.ok(`ping -c 2 -i 0.2 -W 10 ${address}`);
      expect(output).toContain(`64 bytes from ${address}`);
      expect((await intoOf('router')).datagrams).toBeGreaterThanOrEqual(datagrams + 2);
      const page = await vms.client.ok(`wget -q -O - http://${address}/`);
      expect(page).toContain('Hello from router');
      // And out from it: nobody takes it for a false sender.
      await vms.router.ok(`ping -c 2 -i 0.2 -W 10 -I ${address} 10.81.0.20`);
      expect(await daemon.count('router', 'spoofed')).toBe(0);
    });
  }

  way('an address that is not the VM’s is refused as source', async () => {
    await vms.router.ok('ip addr add 10.81.0.99/24 dev eth0');
    const { datagrams } = await intoOf('client');
    const { status } = await vms.router.run('ping -c 2 -i 0.2 -W 1 -I 10.81.0.99 10.81.0.20');
    expect(status).not.toBe(0);
    expect(await daemon.count('router', 'spoofed')).toBeGreaterThan(0);
    expect((await intoOf('client')).datagrams).toBe(datagrams);
  });

  way('nothing passes from one network to the other', async () => {
    const before = { stranger: await intoOf('stranger'), router: await intoOf('router') };
    // By the base as gateway; as if it were on the same wire; under an address of the other network.
    for (const [from, script] of [
      ['client', 'ping -c 2 -i 0.2 -W 1 10.82.0.11'],
      ['client', 'ping -c 1 -W 1 10.82.0.1 && exit 0; exit 1'],
      ['client', 'ip route add 10.82.0.0/24 dev eth0; ping -c 2 -i 0.2 -W 1 10.82.0.11'],
      [
        'client',
        'ip addr add 10.82.0.30/24 dev eth0; ping -c 2 -i 0.2 -W 1 -I 10.82.0.30 10.82.0.11',
      ],
    ] as const) {
      const { status, output } = await vms[from].run(script);
      expect(status, `${script}: ${output}`).not.toBe(0);
    }
    // Who asks for a stranger's MAC gets the base's own, of his own network.
    const { output } = await vms.client.run('arping -c 2 -w 2 -I eth0 10.82.0.11');
    const macs = [...output.matchAll(/\[(\S+)\]/g)].map((match) => match[1]);
    expect(macs).toEqual(macs.map(() => RED_MAC));
    expect(await intoOf('stranger')).toEqual(before.stranger);
    const { status } = await vms.stranger.run('ping -c 2 -i 0.2 -W 1 192.0.2.77');
    expect(status).not.toBe(0);
    expect(await intoOf('router')).toEqual(before.router);
    const { drops } = await daemon.vm('client');
    expect(Object.values(drops).reduce((sum, count) => sum + count, 0)).toBeGreaterThan(0);
    // The stranger's own network works, of course.
    await vms.stranger.ok('ping -c 1 -W 10 10.82.0.1');
  });

  async function intoOf(name: Name): Promise<Traffic> {
    const { datagrams, bytes } = (await daemon.vm(name)).input;
    return { datagrams, bytes };
  }
});
