/** Who connected and went before the base looked does not keep out whoever comes next (QEMU that is ended and started anew). */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { native } from '../../src/native.ts';
import { parse } from '../support/packets.ts';
import { A, B, THREE_VMS, udpFrame } from '../support/traffic.ts';
import { Vm } from '../support/vm.ts';
import { World } from '../support/world.ts';

let world: World;
beforeAll(async () => {
  world = await World.start({ vms: THREE_VMS });
});
afterAll(() => world?.close());

test('a front-end that came and went while the base was busy: the next one is served', async () => {
  const b = await world.vm('b');
  const { daemon } = world;
  const before = await daemon.count('a', 'refusedConnections');
  await daemon.freeze();
  let a: Vm;
  try {
    native.closeDescriptor(native.unixConnect(daemon.socket('a')));
    a = world.adopt(await Vm.connect(daemon.socket('a')));
  } finally {
    daemon.thaw();
  }
  await a.negotiate();
  await a.run();
  await a.send(udpFrame(A, B.ip, Buffer.from('served')));
  expect(parse((await b.receive()).frame).udp?.payload.toString()).toBe('served');
  expect(await daemon.count('a', 'refusedConnections')).toBe(before);
});
