/**
 * Ranked case 40: everything at once, drawn from a seed. A hostile VM, a receiver that stalls, a worker that fails, a base that is stopped, killed
 * and short of descriptors, while b sends to c. In the end the books balance, nothing is left behind, and nothing more is lost. Five
 * seconds; ten minutes with BASEWIRE_LONG=1.
 */
import { execFileSync } from 'node:child_process';
import { rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, expect, test } from 'vitest';
import { native } from '../../src/native.ts';
import { ConnectionClosed } from '../support/frontend.ts';
import { inject } from '../support/inject.ts';
import { duration, type Random, seeded } from '../support/random.ts';
import { A, B, THREE_VMS, udpFrame } from '../support/traffic.ts';
import { pause, until } from '../support/until.ts';
import { Vm } from '../support/vm.ts';
import { World } from '../support/world.ts';
import { Pair } from './pair.ts';

const MILLISECONDS = duration(5000);
const PRELOAD = fileURLToPath(new URL('../support/inject-faults.cjs', import.meta.url));
const FAULT = join(tmpdir(), `basewire-chaos-${process.pid}`);
const OPTIONS = {
  nodeArguments: ['--require', PRELOAD],
  environment: { BASEWIRE_TEST_FAULT: FAULT },
};

let world: World | undefined;
let pair: Pair | undefined;
let attacker: Vm | null = null;
afterEach(async () => {
  attacker?.close();
  pair?.close();
  await world?.close();
  rmSync(FAULT, { force: true });
  attacker = null;
  pair = world = undefined;
});

/** The attacker, running, or null when it is not let in just now. */
async function attack(random: Random): Promise<Vm | null> {
  if (attacker !== null && !attacker.frontEnd.closed) return attacker;
  attacker?.close();
  attacker = null;
  const queueSize = 1 << random.between(3, 8);
  const sealable = random.chance(0.5);
  try {
    attacker = await Vm.start(world!.daemon.socket('a'), { queueSize, memory: { sealable } });
  } catch {
    // Refused, or cut off while it started: that is its business.
  }
  return attacker;
}

type Fault = (random: Random) => Promise<void>;

const FAULTS: Record<string, Fault> = {
  /** Anything at all in the attacker's rings and buffers. */
  scribble: async (random) => {
    const a = await attack(random);
    for (let left = 20; a !== null && left > 0; left--) {
      const { bytes } = random.pick(a.memory.regions);
      random.bytes(random.between(1, 200)).copy(bytes, random.below(bytes.length));
      a.trySend(udpFrame(A, B.ip, random.bytes(random.below(500))));
      a.transmitQueue().kick();
    }
  },
  garbage: async (random) => {
    const a = await attack(random);
    // The base may be about to close the connection for what happened before.
    await a?.frontEnd.sendBytes(random.bytes(random.between(1, 300))).catch(closedMeanwhile);
  },
  truncate: async (random) => {
    const a = await attack(random);
    if (a === null) return;
    const { descriptor } = a.memory.regions[0];
    const truncated = native.truncate(descriptor, 4096) === 0; // else it is sealed
    a.transmitQueue().kick();
    // Its rings are gone for its own driver, too: the base closes, and another VM comes.
    if (truncated) await a.frontEnd.untilClosed();
  },
  leave: async () => {
    attacker?.close();
    attacker = null;
  },
  flood: async (random) => {
    const a = await attack(random);
    for (let left = 2000; a !== null && left > 0; left--) {
      if (!a.trySend(udpFrame(A, B.ip, Buffer.alloc(18)))) await pause();
    }
  },
  /** c takes nothing for a while. */
  stall: async (random) => {
    for (let left = random.between(100, 1500); left > 0; left--) {
      pair!.b.trySend(udpFrame(B, '10.77.0.12', Buffer.alloc(200), { ports: [1, 2] }));
      if (left % 64 === 0) await pause();
    }
  },
  worker: async (random) => {
    inject(FAULT, random.pick(['throw', 'end', 'hang']));
    await until('the worker to fail', () => {
      pair!.step();
      return pair!.cut;
    });
    await readyAgain();
  },
  freeze: async (random) => {
    process.kill(world!.daemon.pid, 'SIGSTOP');
    for (let left = random.between(5, 200); left > 0; left--) await pause();
    process.kill(world!.daemon.pid, 'SIGCONT');
  },
  kill: async () => {
    await world!.daemon.die();
    await world!.daemon.restart(OPTIONS);
    await readyAgain();
  },
  descriptors: async (random) => {
    const { daemon } = world!;
    const soft = Math.max(40, daemon.descriptors().length - random.below(8));
    execFileSync('prlimit', [`--pid=${daemon.pid}`, `--nofile=${soft}:`]);
    attacker?.close();
    attacker = null;
    await attack(random);
    execFileSync('prlimit', [`--pid=${daemon.pid}`, '--nofile=1024:']);
  },
};

function closedMeanwhile(error: unknown): void {
  if (!(error instanceof ConnectionClosed)) throw error;
}

/** The front-ends are back on their ports. */
async function readyAgain(): Promise<void> {
  attacker?.close();
  attacker = null;
  await pair!.reattach();
}

test('chaos', { timeout: MILLISECONDS + 120_000 }, async () => {
  const random = seeded();
  world = await World.start({ vms: THREE_VMS }, OPTIONS);
  pair = await Pair.start(world.daemon);
  await pair.expectNoLoss(50);
  const descriptors = world.daemon.descriptors().length;
  const names = Object.keys(FAULTS);
  const happened: string[] = [];
  const end = performance.now() + MILLISECONDS;
  // Each once, in an order of its own; then whatever comes.
  const first = names.map((name) => [random.word(), name] as const).sort((a, b) => a[0] - b[0]);
  while (performance.now() < end || happened.length < names.length) {
    const name = first[happened.length]?.[1] ?? random.pick(names);
    happened.push(name);
    try {
      await FAULTS[name](random);
      for (let left = random.between(10, 100); left > 0; left--) {
        pair.step();
        if (left % 8 === 0) await pause();
      }
      if (pair.cut) await pair.reattach();
      await pair.untilFlows();
    } catch (error) {
      const { lines } = world.daemon;
      throw new Error(
        `after ${happened.slice(-5).join(', ')}: ${(error as Error).message}\n${lines.slice(-8).join('\n')}`,
        { cause: error },
      );
    }
  }
  attacker?.close();
  attacker = null;
  await world.daemon.untilState('a', 'waiting');
  await pair.expectNoLoss(200);
  await world.balance();
  // A connection that was given up while descriptors were short may be taken first, and ours be a second one.
  const a = await until('a front-end is taken again', () =>
    world!.vm('a').catch((error) => {
      closedMeanwhile(error);
      return null;
    }),
  );
  a.close();
  await until('descriptors as before', () => world!.daemon.descriptors().length <= descriptors);
  expect(world.daemon.guestMappings().length).toBeGreaterThan(0);
  console.log(`${happened.length} faults, ${pair.arrived} of ${pair.sent} datagrams arrived`);
});
