/**
 * DPDK's virtio-user as server (`server=1`) starts its split rings at SET_VRING_BASE 0 when a base has connected anew, whatever lies in
 * them. Nothing is ever in flight when a ring starts, so it goes on behind what was given back last (as with DPDK, VPP and libvhost-user).
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parse } from '../support/packets.ts';
import { A, B, THREE_VMS, udpFrame } from '../support/traffic.ts';
import { World } from '../support/world.ts';
import type { Vm } from '../support/vm.ts';

let world: World;
beforeAll(async () => {
  world = await World.start({ vms: THREE_VMS });
});
afterAll(() => world?.close());

async function again(old: Vm, name: string): Promise<Vm> {
  const vm = world.adopt(await old.reconnect(world.daemon.socket(name)));
  await vm.negotiate();
  await vm.applyFeatures();
  await vm.shareMemory();
  for (const index of [0, 1]) {
    await vm.startRing(index, 0);
    await vm.enable(index, true);
  }
  return vm;
}

describe.each([3, 300])('rings that are restored at 0, after %i datagrams each way', (count) => {
  test('go on where they were: nothing is lost, nothing comes twice', async () => {
    const a0 = await world.vm('a');
    const b0 = await world.vm('b');
    for (let i = 0; i < count; i++) {
      await a0.send(udpFrame(A, B.ip, Buffer.from(`a${i}`)));
      expect(parse((await b0.receive()).frame).udp?.payload.toString()).toBe(`a${i}`);
      await b0.send(udpFrame(B, A.ip, Buffer.from(`b${i}`)));
      expect(parse((await a0.receive()).frame).udp?.payload.toString()).toBe(`b${i}`);
    }
    const a = await again(a0, 'a');
    const b = await again(b0, 'b');
    for (let i = 0; i < 5; i++) {
      await a.send(udpFrame(A, B.ip, Buffer.from(`again a${i}`)));
      expect(parse((await b.receive()).frame).udp?.payload.toString()).toBe(`again a${i}`);
      await b.send(udpFrame(B, A.ip, Buffer.from(`again b${i}`)));
      expect(parse((await a.receive()).frame).udp?.payload.toString()).toBe(`again b${i}`);
    }
    await world.balance();
    a.close();
    b.close();
  });
});
