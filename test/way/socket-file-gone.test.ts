/** Somebody removes the file of a socket, or moves its folder, while the base runs: nobody can connect there any more, and the status says so. */
import { mkdirSync, mkdtempSync, renameSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { A, B, C } from '../support/traffic.ts';
import { until } from '../support/until.ts';
import { Vm } from '../support/vm.ts';
import { World } from '../support/world.ts';

let folder: string;
let world: World;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'basewire-test-'));
  mkdirSync(join(folder, 'sockets'));
  const client = { path: join(folder, 'client'), mode: 'client' };
  const [first, second] = ['1', '2'].map((name) => join(folder, 'sockets', name));
  world = await World.start({
    vms: {
      a: { addresses: [A.ip] },
      b: { addresses: [B.ip], socket: undefined, sockets: [first, second] },
      c: { addresses: [C.ip], socket: client },
    },
  });
});
afterAll(async () => {
  await world?.close();
  rmSync(folder, { recursive: true, force: true });
});

/** By VM, which of its sockets are gone. */
async function gone(): Promise<Record<string, boolean[]>> {
  const { vms } = await world.daemon.status();
  return Object.fromEntries(
    Object.entries(vms).map(([name, { sockets }]) => [
      name,
      (sockets as { gone: boolean }[]).map((socket) => socket.gone),
    ]),
  );
}

test('of a VM that runs, of one that waits, and of nobody else', async () => {
  const { daemon } = world;
  expect(await gone()).toEqual({ a: [false], b: [false, false], c: [false] });
  const a = world.adopt(await Vm.start(daemon.socket('a')));
  await daemon.untilState('a', 'running');
  rmSync(daemon.socket('a'));
  expect(await gone()).toEqual({ a: [true], b: [false, false], c: [false] });
  renameSync(join(folder, 'sockets'), join(folder, 'moved'));
  expect(await gone()).toEqual({ a: [true], b: [true, true], c: [false] });
  renameSync(join(folder, 'moved'), join(folder, 'sockets'));
  expect(await gone()).toEqual({ a: [true], b: [false, false], c: [false] });
  expect((await daemon.vm('a')).state).toBe('running');
  a.close();
});

test('a restart makes it anew', async () => {
  const { daemon } = world;
  process.kill(daemon.pid, 'SIGTERM');
  await until('the end', () => daemon.exit !== null);
  await daemon.restart();
  expect(await gone()).toEqual({ a: [false], b: [false, false], c: [false] });
  await world.vm('a');
});
