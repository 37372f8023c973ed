/**
 * cloud-hypervisor reconnects with SET_VRING_BASE set to the driver's avail index, where QEMU says the used one. Nothing is ever in flight
 * when a ring starts, so what lies between was taken by a base that died, and is found again (as DPDK and libvhost-user do).
 */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { parse } from '../support/packets.ts';
import { A, B, THREE_VMS, udpFrame } from '../support/traffic.ts';
import { World } from '../support/world.ts';

let world: World;
beforeAll(async () => {
  world = await World.start({ vms: THREE_VMS });
});
afterAll(() => world?.close());

test('a ring that is restored at its avail index: its input buffers are found', async () => {
  const a = await world.vm('a');
  const old = await world.vm('b');
  await a.send(udpFrame(A, B.ip, Buffer.from('one')));
  expect(parse((await old.receive()).frame).udp?.payload.toString()).toBe('one');
  const b = world.adopt(await old.reconnect(world.daemon.socket('b')));
  await b.negotiate();
  await b.applyFeatures();
  await b.shareMemory();
  for (const index of [0, 1]) {
    await b.startRing(index, b.queues[index].next);
    await b.enable(index, true);
  }
  await a.send(udpFrame(A, B.ip, Buffer.from('two')));
  expect(parse((await b.receive()).frame).udp?.payload.toString()).toBe('two');
  await world.balance();
});
