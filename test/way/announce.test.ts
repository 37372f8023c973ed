/**
 * A VM appeared, or QEMU says after a migration with SEND_RARP that a VM, whose guest can't announce itself, is here now: the base tells
 * the LAN by gratuitous ARP, for all addresses of that VM and no others.
 */
import { execFileSync } from 'node:child_process';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { BASE_IP } from '../support/daemon.ts';
import { LAN_INTERFACE, Lan, NO_LAN } from '../support/lan.ts';
import { parse } from '../support/packets.ts';
import { REQUEST, u64 } from '../support/protocol.ts';
import { A, B, THREE_VMS, udpFrame } from '../support/traffic.ts';
import { until } from '../support/until.ts';
import type { Vm } from '../support/vm.ts';
import { World } from '../support/world.ts';

const SECOND_ADDRESS = '10.77.0.111';
/** Each address is announced twice (RFC 5227 §2.3). */
const TWICE = 2;
/** The VMs' addresses and the base's own, when the adapter opens. */
const LISTED = Object.keys(THREE_VMS).length + 2;

describe.skipIf(NO_LAN !== '')(`announcements to the LAN${NO_LAN && ` (${NO_LAN})`}`, () => {
  let lan: Lan;
  let world: World;
  let a: Vm;
  let b: Vm;

  beforeAll(async () => {
    lan = await Lan.start();
    // Its neighbour table takes up what is announced.
    const accept = 'echo 1 >/proc/sys/net/ipv4/conf/lan0/arp_accept';
    execFileSync('ip', ['netns', 'exec', lan.outside, 'sh', '-c', accept]);
    const { addresses } = THREE_VMS.a;
    world = await World.start(
      {
        vms: {
          ...THREE_VMS,
          a: { ...THREE_VMS.a, addresses: [...addresses, SECOND_ADDRESS] },
          b: { ...THREE_VMS.b, management: true },
        },
        adapters: { uplink: { interface: LAN_INTERFACE, network: 'lan', controllers: ['b'] } },
      },
      { under: lan.under },
    );
    a = await world.vm('a');
    b = await world.vm('b');
  });
  afterAll(async () => {
    await world?.close();
    await lan?.close();
  });

  async function sent(): Promise<number> {
    const { uplink } = (await world.daemon.status()).adapters;
    return (uplink.sent as { datagrams: number }).datagrams;
  }

  async function open(): Promise<string> {
    const request = JSON.stringify({ id: 1, op: 'open', adapter: 'uplink' });
    await b.send(udpFrame(B, BASE_IP, Buffer.from(request), { ports: [4444, 7356] }));
    const { udp } = parse((await b.receive()).frame);
    return (JSON.parse(`${udp?.payload}`) as { mac: string }).mac;
  }

  const neighbour = (address: string): string => lan.ipOutside('neigh', 'show', 'to', address);

  test('SEND_RARP: the LAN learns at once where the VM is, by it alone', async () => {
    const mac = await open();
    await until('what is announced at opening', async () => (await sent()) >= TWICE * LISTED);
    lan.ipOutside('neigh', 'flush', 'all');
    const before = await sent();
    expect(before).toBe(TWICE * LISTED);

    await a.frontEnd.askNumber(REQUEST.SEND_RARP, u64(0x0a0000005452n), { needReply: true });
    for (const address of [A.ip, SECOND_ADDRESS]) {
      await until(`${address} to be known`, () => neighbour(address).includes(`lladdr ${mac}`));
    }
    await until('the second announcements', async () => (await sent()) === before + 2 * TWICE);
    expect(neighbour(B.ip)).toBe('');
  });

  test('a VM that appears is announced, by itself alone', async () => {
    a.close();
    await world.daemon.untilState('a', 'waiting');
    lan.ipOutside('neigh', 'flush', 'all');
    const before = await sent();
    a = await world.vm('a');
    for (const address of [A.ip, SECOND_ADDRESS]) {
      await until(`${address} to be known`, () => neighbour(address).includes('lladdr'));
    }
    await until('the second announcements', async () => (await sent()) === before + 2 * TWICE);
    expect(neighbour(B.ip)).toBe('');
  });

  test('a closed adapter says nothing', async () => {
    const request = JSON.stringify({ id: 2, op: 'close', adapter: 'uplink' });
    await b.send(udpFrame(B, BASE_IP, Buffer.from(request), { ports: [4444, 7356] }));
    await b.receive();
    lan.ipOutside('neigh', 'flush', 'all');
    const before = await sent();
    const reply = await a.frontEnd.askNumber(REQUEST.SEND_RARP, u64(0n), { needReply: true });
    expect(reply).toBe(0n);
    await world.balance();
    expect(await sent()).toBe(before);
    expect(neighbour(A.ip)).toBe('');
  });
});
