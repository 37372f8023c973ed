/** `datapath.cores`: the turn worker has its core for itself as far as this process goes, also the one that is started anew. */
import { readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { allowedCores, usableCores } from '../../src/supervision/idle-cores.ts';
import { inject } from '../support/inject.ts';
import { A, B, forwarded, THREE_VMS, udpFrame } from '../support/traffic.ts';
import { until } from '../support/until.ts';
import { World } from '../support/world.ts';

const allowed = usableCores();
const core = allowed.at(-1)!;
const others = allowed.slice(0, -1);

const PRELOAD = fileURLToPath(new URL('../support/inject-faults.cjs', import.meta.url));
const FAULT = join(tmpdir(), `basewire-cores-${process.pid}`);

let world: World;
beforeAll(async () => {
  world = await World.start(
    { vms: THREE_VMS, datapath: { workers: 1, cores: [core] } },
    { nodeArguments: ['--require', PRELOAD], environment: { BASEWIRE_TEST_FAULT: FAULT } },
  );
});
afterEach(() => world.release());
afterAll(async () => {
  rmSync(FAULT, { force: true });
  await world?.close();
});

/** How many threads of the daemon may run on which cores; a thread that has ended meanwhile is left out. */
function threads(): Map<string, number> {
  const counts = new Map<string, number>();
  const folder = `/proc/${world.daemon.pid}/task`;
  for (const thread of readdirSync(folder)) {
    let name: string;
    try {
      name = [...allowedCores(`${folder}/${thread}/status`)].join(' ');
    } catch {
      continue;
    }
    counts.set(name, (counts.get(name) ?? 0) + 1);
  }
  return counts;
}

/** Resolves when one thread may run on the worker's core, and none of the others. */
function oneOnItsCore(): Promise<boolean> {
  return until('one thread alone on its core', () => {
    const counts = threads();
    return counts.size === 2 && counts.get(`${core}`) === 1 && counts.has(others.join(' '));
  });
}

test('it carries datagrams', async () => {
  const [a, b] = [await world.vm('a'), await world.vm('b')];
  const frame = udpFrame(A, B.ip, Buffer.from('from a core of its own'));
  await a.send(frame);
  expect((await b.receive()).frame.equals(forwarded(frame, B))).toBe(true);
});

const ONE_CORE = allowed.length === 1 ? 'there is one core only' : '';

test('one thread runs on the worker’s core, the others elsewhere', async ({ skip }) => {
  skip(ONE_CORE !== '', ONE_CORE);
  await oneOnItsCore();
});

test('likewise behind a worker that failed', async ({ skip }) => {
  skip(ONE_CORE !== '', ONE_CORE);
  const a = await world.vm('a');
  inject(FAULT, 'throw');
  await until('a new worker', async () => {
    a.trySend(udpFrame(A, B.ip, Buffer.from('a reason to look at the clock')));
    const status = (await world.daemon.status()) as unknown as Record<string, unknown>;
    return status.ready === true && status.workerRestarts === 1;
  });
  await oneOnItsCore();
});

test('a core that there is not ends the start, and says so', async () => {
  const start = World.start({ vms: THREE_VMS, datapath: { workers: 1, cores: [8191] } });
  await expect(start).rejects.toThrow(/datapath\.cores: no thread can run on core 8191: /);
});
