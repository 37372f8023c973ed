/**
 * Of each view of guest memory Node keeps something until its thread returns to the event loop. A turn worker does not live there: it has to
 * go there now and then, or a front-end that shares memory and takes it away again, for ever, has the base grow by megabytes a second.
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, expect, test } from 'vitest';
import { THREE_VMS } from '../support/traffic.ts';
import { World } from '../support/world.ts';
import { Pair } from './pair.ts';

const PRELOAD = fileURLToPath(new URL('../support/count-loops.cjs', import.meta.url));
/** Each change has the rings viewed anew, and every thousandth view is enough. */
const CHANGES = 1000;
const LEAST = 5;

let folder: string;
let world: World | undefined;
let pair: Pair | undefined;
afterEach(async () => {
  pair?.close();
  await world?.close();
  rmSync(folder, { recursive: true, force: true });
  world = pair = undefined;
});

test('a worker whose VMs change their memory returns to Node’s loop, and loses nothing meanwhile', {
  timeout: 60_000,
}, async () => {
  folder = mkdtempSync(join(tmpdir(), 'basewire-test-'));
  const file = join(folder, 'loops');
  world = await World.start(
    { vms: THREE_VMS, datapath: { workers: 1 } },
    { nodeArguments: ['--require', PRELOAD], environment: { BASEWIRE_TEST_LOOPS: file } },
  );
  const loops = () => Number(readFileSync(file, 'utf8'));
  pair = await Pair.start(world.daemon);
  const a = await world.vm('a');
  const before = loops();
  // Otherwise it does not: datagrams need nothing of Node.
  await pair.expectNoLoss(500);
  expect(loops()).toBe(before);
  const region = a.memory.add({ guestAddress: 0x1_0000_0000, bytes: 0x1000 });
  for (let change = 0; change < CHANGES; change++) {
    expect(await a.frontEnd.addRegion(region)).toBe(0n);
    expect(await a.frontEnd.removeRegion(region)).toBe(0n);
    if (change % 20 === 0) await pair.expectNoLoss(5);
  }
  expect(loops() - before).toBeGreaterThanOrEqual(LEAST);
  await world.balance();
});
