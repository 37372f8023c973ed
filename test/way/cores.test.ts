/** `datapath.cores`: the turn worker has its core for itself as far as this process goes, also the one that is started anew. */
import { readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { allowedCores } from '../../src/cores.ts';
import { A, B, forwarded, THREE_VMS, udpFrame } from '../support/traffic.ts';
import { until } from '../support/until.ts';
import { World } from '../support/world.ts';

const allowed = [...allowedCores()];
const core = allowed.at(-1)!;
/** As /proc shows them: the others' cores, or the only one there is. */
const others = allowed.length === 1 ? allowed : allowed.slice(0, -1);

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

/** How many threads of the daemon may run on which cores. */
function threads(): Map<string, number> {
  const counts = new Map<string, number>();
  const folder = `/proc/${world.daemon.pid}/task`;
  for (const thread of readdirSync(folder)) {
    const status = readFileSync(`${folder}/${thread}/status`, 'utf8');
    const mask = /^Cpus_allowed:\s*(\S+)$/m.exec(status)![1]!.replaceAll(',', '');
    const name = BigInt(`0x${mask}`).toString(2);
    counts.set(name, (counts.get(name) ?? 0) + 1);
  }
  return counts;
}

const maskOf = (cores: number[]) =>
  cores.reduce((mask, each) => mask | (1n << BigInt(each)), 0n).toString(2);

function expectOneOnIts(core: number): void {
  const counts = threads();
  if (others === allowed) expect([...counts.keys()]).toEqual([maskOf([core])]);
  else {
    expect([...counts.keys()].sort()).toEqual([maskOf([core]), maskOf(others)].sort());
    expect(counts.get(maskOf([core]))).toBe(1);
  }
}

test('one thread runs on the worker’s core, the others elsewhere', async () => {
  const [a, b] = [await world.vm('a'), await world.vm('b')];
  const frame = udpFrame(A, B.ip, Buffer.from('from a core of its own'));
  await a.send(frame);
  expect((await b.receive()).frame.equals(forwarded(frame, B))).toBe(true);
  expectOneOnIts(core);
});

test('likewise behind a worker that failed', async () => {
  const a = await world.vm('a');
  writeFileSync(`${FAULT}.new`, 'throw');
  renameSync(`${FAULT}.new`, FAULT); // whole at once
  await until('a new worker', async () => {
    a.trySend(udpFrame(A, B.ip, Buffer.from('a reason to look at the clock')));
    const status = (await world.daemon.status()) as unknown as Record<string, unknown>;
    return status.ready === true && status.workerRestarts === 1;
  });
  expectOneOnIts(core);
});
