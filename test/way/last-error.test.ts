/** What the status says went wrong with a VM's front-end: nothing when it just left, and what it was refused also after that. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { THREE_VMS } from '../support/traffic.ts';
import { Vm } from '../support/vm.ts';
import { World } from '../support/world.ts';

let world: World;
beforeAll(async () => {
  world = await World.start({ vms: THREE_VMS });
});
afterAll(() => world?.close());

async function leave(vm: Vm): Promise<void> {
  const before = await world.daemon.count('a', 'disconnects');
  vm.close();
  await world.daemon.untilCount('a', 'disconnects', before + 1);
}

test('what a front-end was refused stands there when it has left, until the VM runs', async () => {
  const vm = world.adopt(await Vm.connect(world.daemon.socket('a')));
  await vm.negotiate();
  expect(await vm.frontEnd.setVringNumber(0, 3)).toBe(1n);
  await leave(vm);
  expect(await world.daemon.vm('a')).toMatchObject({
    state: 'waiting',
    lastError: expect.stringMatching(/^SET_VRING_NUM/),
  });
  const next = await world.vm('a');
  expect((await world.daemon.vm('a')).lastError).toBe('');
  await leave(next);
  expect(await world.daemon.vm('a')).toMatchObject({ state: 'waiting', lastError: '' });
});
