/** The kernel watches nothing more for us when the base wants to listen again after a pause: it tries later, and the VMs that are there go on. */
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { native } from '../../src/native.ts';
import { THREE_VMS } from '../support/traffic.ts';
import { until } from '../support/until.ts';
import { Vm } from '../support/vm.ts';
import { World } from '../support/world.ts';
import { Pair } from './pair.ts';

const PRELOAD = fileURLToPath(new URL('../support/inject-no-watch.cjs', import.meta.url));

let folder: string;
let fault: string;
let world: World;
let pair: Pair;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'basewire-fault-'));
  fault = join(folder, 'no-watch');
  world = await World.start(
    { vms: THREE_VMS },
    { nodeArguments: ['--require', PRELOAD], environment: { BASEWIRE_TEST_FAULT: fault } },
  );
  pair = await Pair.start(world.daemon);
});
afterAll(async () => {
  pair?.close();
  await world?.close();
  rmSync(folder, { recursive: true, force: true });
});

test('the pause of a listening socket ends, and there is no watch to be had: it listens later, and nobody is cut off', async () => {
  const { daemon } = world;
  const a = await world.vm('a');
  await pair.expectNoLoss(50);
  writeFileSync(fault, '');
  // More than are refused at once: then the base listens no longer for a while.
  await until('the fault to be met', () => {
    pair.step();
    try {
      native.closeDescriptor(native.unixConnect(daemon.socket('a')));
    } catch {
      // As many wait as may.
    }
    return existsSync(`${fault}.met`);
  });
  await pair.expectNoLoss(50);
  rmSync(fault);
  a.close();
  const next = await until('the next front-end to be served', async () => {
    pair.step();
    return Vm.start(daemon.socket('a')).catch(() => null);
  });
  world.adopt(next);
  await pair.expectNoLoss(50);
  expect(await daemon.status()).toMatchObject({ workerRestarts: 0 });
});
