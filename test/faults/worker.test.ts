/** Ranked case 39: the turn worker throws, hangs or ends. It is replaced; the front-ends come back to running guests; nothing is left behind. */
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { THREE_VMS } from '../support/traffic.ts';
import { inject } from '../support/inject.ts';
import { until } from '../support/until.ts';
import { World } from '../support/world.ts';
import { Pair } from './pair.ts';

const PRELOAD = fileURLToPath(new URL('../support/inject-faults.cjs', import.meta.url));
const FAULT = join(tmpdir(), `basewire-fault-${process.pid}`);

describe('a turn worker that fails', { timeout: 90_000 }, () => {
  let world: World;
  let pair: Pair;
  let restarts = 0;
  beforeAll(async () => {
    world = await World.start(
      { vms: THREE_VMS },
      { nodeArguments: ['--require', PRELOAD], environment: { BASEWIRE_TEST_FAULT: FAULT } },
    );
    pair = await Pair.start(world.daemon);
  });
  afterAll(async () => {
    pair?.close();
    await world?.close();
  });

  test.each([
    ['throw', /it threw: Error: injected/],
    ['hang', /its loop stood still for 1\.75 seconds/],
    ['end', /it ended with code 3/],
    ['lose', /it threw: Error: injected with datagrams in base storage/],
    ['throw', /it threw/],
  ])('%s: noticed, replaced, traffic goes on', async (what, reason) => {
    const { daemon } = world;
    await pair.untilFlows();
    const descriptors = daemon.descriptors().length;
    const from = daemon.lines.length;
    inject(FAULT, what);
    await until('the front-ends to be cut off', () => {
      pair.step();
      return pair.cut;
    });
    await until('the worker to be replaced', async () => {
      const status = (await daemon.status()) as unknown as Record<string, unknown>;
      return status.ready === true && status.workerRestarts === restarts + 1;
    });
    restarts++;
    await pair.reattach();
    await pair.expectNoLoss(200);
    await world.balance();
    // Those that the lost worker had have ended.
    const { events } = (await daemon.vm('b')) as unknown as { events: Record<string, number> };
    expect(events.connects! - events.disconnects!).toBe(1);
    if (what === 'lose') expect(await daemon.count('b', 'workerLost')).toBeGreaterThan(0);
    expect(daemon.running).toBe(true);
    expect(daemon.lines.slice(from).some((line) => reason.test(line))).toBe(true);
    await until('descriptors as before', () => daemon.descriptors().length <= descriptors);
  });
});
