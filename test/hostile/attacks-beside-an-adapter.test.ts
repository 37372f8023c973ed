/**
 * The fixture with its adapter: victim b exchanges datagrams with a host on a LAN while a attacks, or while the interface goes away under it.
 * Needs root (network namespaces).
 */
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { BASE_IP } from '../support/daemon.ts';
import { EchoFlow } from '../support/echo-flow.ts';
import { LAN_IP, LAN_SINK_PORT, Lan, NO_LAN } from '../support/lan.ts';
import { arp, BROADCAST, ETHERTYPE, ethernet, parse } from '../support/packets.ts';
import { A, B, C, THREE_VMS, udpFrame } from '../support/traffic.ts';
import { pause, until } from '../support/until.ts';
import type { Vm } from '../support/vm.ts';
import { World } from '../support/world.ts';

const MANAGER = { mac: '52:54:00:00:00:02', ip: '10.77.0.2' };

describe.skipIf(NO_LAN !== '')(`beside an adapter${NO_LAN && ` (skipped: ${NO_LAN})`}`, () => {
  let lan: Lan;
  let world: World;
  let manager: Vm;
  let b: Vm;
  let flow: EchoFlow;
  const attackers: Vm[] = [];

  beforeAll(async () => {
    lan = await Lan.start();
    world = await World.start(
      {
        vms: {
          ...THREE_VMS,
          manager: { addresses: [MANAGER.ip], mac: MANAGER.mac, management: true },
        },
        adapters: {
          uplink: { interface: lan.interface, network: 'lan', controllers: ['manager'], lease: 60 },
        },
      },
      { under: lan.under },
    );
    manager = await world.vm('manager');
    b = await world.vm('b');
    flow = new EchoFlow(b, B);
    await open();
    flow.start();
    await flow.advance(5);
  }, 60_000);
  afterEach(async () => {
    for (const vm of attackers.splice(0)) vm.close();
    await flow.advance();
    await flow.finish();
    await world.daemon.untilState('a', 'waiting');
    await world.balance();
    flow.start();
  });
  afterAll(async () => {
    flow?.stop();
    await world?.close();
    await lan?.close();
  });

  async function open(): Promise<void> {
    const text = '{"id":1,"op":"open","adapter":"uplink"}';
    const answer = await until('the adapter to open', async () => {
      await manager.send(udpFrame(MANAGER, BASE_IP, Buffer.from(text), { ports: [5555, 7356] }));
      const { udp } = parse((await manager.receive()).frame);
      const reply = JSON.parse(udp!.payload.toString()) as { ok: boolean; state?: string };
      return reply.ok ? reply : null;
    });
    expect(answer.state).toBe('open');
  }

  async function adapter(): Promise<{ state: string }> {
    return (await world.daemon.status()).adapters.uplink;
  }

  async function attacker(): Promise<Vm> {
    const a = await world.vm('a');
    attackers.push(world.adopt(a));
    return a;
  }

  /** A datagram for the LAN's sink. */
  const toSink = (from: { mac: string; ip: string }, text: string) =>
    udpFrame(from, LAN_IP, Buffer.from(text), { ports: [1234, LAN_SINK_PORT] });

  test('datagrams and answers pass', async () => {
    await flow.advance(300);
  });

  test('what waits for a neighbour is not overtaken when the neighbour answers', async () => {
    for (let k = 0; k < 30; k++) {
      const address = `10.77.0.${201 + k}`;
      lan.addAddress(address);
      const text = `to ${address}`;
      for (let i = 0; i < 12; i++) {
        const frame = udpFrame(B, address, Buffer.from(`${text}: ${i}`), {
          ports: [1234, LAN_SINK_PORT],
        });
        await b.send(frame);
        const end = performance.now() + 0.04 * (k % 6);
        while (performance.now() < end);
      }
      const arrived = () => lan.sunk.filter((one) => one.text.startsWith(`${text}:`));
      await until('all of them', () => arrived().length === 12);
      const order = arrived().map((one) => Number(one.text.split(': ')[1]));
      expect(order, address).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
    }
  });

  test('spoofed sources never reach the LAN', async () => {
    const a = await attacker();
    const before = (await world.daemon.vm('a')).drops;
    for (const ip of [B.ip, C.ip, BASE_IP, LAN_IP, '10.77.0.99', '192.0.2.1', '127.0.0.1']) {
      await a.send(toSink({ mac: A.mac, ip }, 'spoofed'));
    }
    await a.send(toSink({ mac: B.mac, ip: A.ip }, 'spoofed'));
    const gratuitous = arp({ operation: 1, senderMac: A.mac, senderIp: LAN_IP, targetIp: LAN_IP });
    await a.send(
      ethernet({ source: A.mac, destination: BROADCAST, type: ETHERTYPE.arp }, gratuitous),
    );
    await a.send(toSink(A, 'honest'));
    await until('the honest datagram', () => lan.sunk.some(({ text }) => text === 'honest'));
    expect(lan.sunk.filter(({ text }) => text === 'spoofed')).toEqual([]);
    expect(lan.sunk.find(({ text }) => text === 'honest')?.from).toBe(A.ip);
    const { drops } = await world.daemon.vm('a');
    const refused = drops.spoofed + drops.martian + drops.arpInvalid;
    expect(refused - before.spoofed - before.martian - before.arpInvalid).toBe(9);
  });

  test('VLAN tags, IPv6 and other frames never reach the LAN, nor do bad IP headers', async () => {
    const a = await attacker();
    const lies = [
      toSink(A, 'bad').fill(0x46, 14, 15),
      ethernet({ source: A.mac, destination: BROADCAST, type: ETHERTYPE.vlan }, Buffer.alloc(60)),
      ethernet({ source: A.mac, destination: BROADCAST, type: ETHERTYPE.ipv6 }, Buffer.alloc(60)),
      ethernet({ source: A.mac, destination: BROADCAST, type: 0x88cc }, Buffer.alloc(60)),
    ];
    for (const lie of lies) await a.send(lie);
    await a.send(toSink(A, 'behind the lies'));
    await until('the honest datagram', () =>
      lan.sunk.some(({ text }) => text === 'behind the lies'),
    );
    expect(lan.sunk.filter(({ text }) => text === 'bad')).toEqual([]);
  });

  test('datagrams to LAN addresses that nobody has: bounded, others go on', async () => {
    const a = await attacker();
    for (let i = 0; i < 3000; i++) {
      a.trySend(udpFrame(A, `10.77.0.${100 + (i % 100)}`, Buffer.alloc(200)));
      if (i % 50 === 0) {
        await pause();
        a.pollReceived();
        a.received.length = 0;
      }
    }
    await a.untilSent();
    await flow.advance();
    await until('the unresolved ones to be dropped', async () => {
      a.pollReceived();
      const { drops } = await world.daemon.vm('a');
      return drops.neighbourUnresolved > 0;
    });
  });

  test('the interface goes down and up again', async () => {
    await flow.finish();
    lan.setLink('down');
    await until('the adapter to be down', async () => (await adapter()).state === 'down');
    const before = (await world.daemon.vm('b')).drops.adapterDown;
    await b.send(toSink(B, 'while down'));
    await world.daemon.untilCount('b', 'adapterDown', before + 1);
    lan.setLink('up');
    await until('the adapter to be open', async () => (await adapter()).state === 'open');
    flow.restart();
    flow.others.length = 0;
    // the kernel needs a moment for the carrier; the flow starts when one datagram has passed
    await until('the LAN to be reached', async () => {
      await b.send(toSink(B, 'up again'));
      return lan.sunk.some(({ text }) => text === 'up again');
    });
    flow.start();
  });
});
