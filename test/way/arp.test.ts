/** The base answers ARP with its own MAC for every address but the asker's own, and leaves probes unanswered. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { BASE_IP, BASE_MAC } from '../support/daemon.ts';
import { type ArpFields, arp, BROADCAST, ETHERTYPE, ethernet, parse } from '../support/packets.ts';
import { A, B, echoFrame } from '../support/traffic.ts';
import type { Vm } from '../support/vm.ts';
import { World } from '../support/world.ts';

function request(fields: Partial<ArpFields>, destination = BROADCAST): Buffer {
  return ethernet(
    { source: A.mac, destination, type: ETHERTYPE.arp },
    arp({ operation: 1, senderMac: A.mac, senderIp: A.ip, targetIp: BASE_IP, ...fields }),
  );
}

describe('ARP', () => {
  let world: World;
  let a: Vm;
  beforeAll(async () => {
    world = await World.start();
  });
  afterEach(() => world.release());
  afterAll(() => world?.close());

  async function answer(frame: Buffer) {
    await a.send(frame);
    const reply = parse((await a.receive()).frame);
    expect(reply.problems).toEqual([]);
    return reply;
  }

  /** What comes next must be the answer to an echo request: the ARP request before it had none. */
  async function silence(frame: Buffer) {
    await a.send(frame);
    await a.send(echoFrame(A, BASE_IP));
    expect(parse((await a.receive()).frame).icmp?.type).toBe(0);
  }

  for (const [name, targetIp] of [
    ["the base's own address", BASE_IP],
    ["another VM's address", B.ip],
    ['an address of the subnet that nobody has', '10.77.0.200'],
  ]) {
    test(`${name} is answered with the base's MAC`, async () => {
      a = await world.vm('a');
      const reply = await answer(request({ targetIp }));
      expect(reply).toMatchObject({
        destination: A.mac,
        source: BASE_MAC,
        arp: {
          operation: 2,
          senderMac: BASE_MAC,
          senderIp: targetIp,
          targetMac: A.mac,
          targetIp: A.ip,
        },
      });
      await world.balance();
    });
  }

  test('a unicast request is answered, too', async () => {
    a = await world.vm('a');
    expect((await answer(request({}, BASE_MAC))).arp?.operation).toBe(2);
  });

  test("the asker's own address is not answered", async () => {
    a = await world.vm('a');
    await silence(request({ targetIp: A.ip }));
    await world.balance();
  });

  test('a probe for a duplicate address is not answered', async () => {
    a = await world.vm('a');
    await silence(request({ senderIp: '0.0.0.0', targetIp: A.ip }));
    await silence(request({ senderIp: '0.0.0.0', targetIp: B.ip }));
    await world.balance();
  });

  test('other VMs see nothing of it', async () => {
    a = await world.vm('a');
    const b = await world.vm('b');
    await answer(request({ targetIp: B.ip }));
    await a.send(echoFrame(A, B.ip));
    const { frame } = await b.receive();
    expect(parse(frame).type).toBe(ETHERTYPE.ipv4);
  });
});
