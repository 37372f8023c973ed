/**
 * A turn worker's thread that is inside a system call, and that nothing can end: the log says so; of several workers the others go on, and it is
 * replaced when the call returns; the only one takes the process with it.
 */
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { askAdmin } from '../../src/admin/client.ts';
import { Fifo } from '../support/fifo.ts';
import { inject } from '../support/inject.ts';
import { A, B, THREE_VMS, udpFrame } from '../support/traffic.ts';
import { until } from '../support/until.ts';
import { Vm } from '../support/vm.ts';
import { World } from '../support/world.ts';
import { Pair } from './pair.ts';

const PRELOAD = fileURLToPath(new URL('../support/inject-faults.cjs', import.meta.url));
const FAULT = join(tmpdir(), `basewire-fault-stuck-${process.pid}`);
/** It takes some seven seconds to know. */
const PATIENCE = 40_000;
const OPTIONS = {
  nodeArguments: ['--require', PRELOAD],
  environment: { BASEWIRE_TEST_FAULT: FAULT },
};

let fifo: Fifo;
beforeAll(() => {
  fifo = new Fifo(`${FAULT}.fifo`);
});
afterAll(() => fifo.remove());

/** Lines of the log at that level, with what they say. */
function said(lines: string[], level: string): Record<string, unknown>[] {
  return lines
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line) as Record<string, unknown>)
    .filter((line) => line.level === level);
}

describe.each([1, 0])('of two turn workers worker %i is stuck', { timeout: 120_000 }, (stuck) => {
  let world: World;
  let pair: Pair;
  /** b and c are the other's. */
  beforeAll(async () => {
    const vms = {
      a: { ...THREE_VMS.a, worker: stuck },
      b: { ...THREE_VMS.b, worker: 1 - stuck },
      c: { ...THREE_VMS.c, worker: 1 - stuck },
    };
    world = await World.start({ vms, datapath: { workers: 2 } }, OPTIONS);
    pair = await Pair.start(world.daemon);
  });
  afterAll(async () => {
    pair?.close();
    await world?.close();
  });

  test('the other’s VMs lose nothing, and it is replaced when the call returns', async () => {
    const { daemon } = world;
    let a = await Vm.start(daemon.socket('a'));
    await daemon.untilState('a', 'running');
    await pair.untilFlows();
    await pair.expectNoLoss(50);
    const { sent, arrived } = pair;
    const from = daemon.lines.length;
    inject(`${FAULT}.${stuck}`, 'stick');
    const errors = () => said(daemon.lines.slice(from), 'error');
    const step = (): void => {
      for (let n = 0; n < 20; n++) {
        if (pair.sent - (sent + pair.arrived - arrived) < 100) pair.step();
        else pair.take();
        pair.b.trySend(udpFrame(B, A.ip, Buffer.from('are you there?')));
      }
    };
    await until(
      'the log to say so',
      () => {
        step();
        return errors().length > 0;
      },
      PATIENCE,
    );
    expect(errors()).toEqual([
      expect.objectContaining({
        worker: stuck,
        reason: 'its loop stood still for 1.75 seconds',
        msg: expect.stringMatching(/stuck inside a system call/),
      }),
    ]);
    expect(await daemon.vm('a')).toMatchObject({
      state: 'waiting',
      missing: expect.stringMatching(/stuck inside a system call/),
    });
    expect(await daemon.status()).toMatchObject({ ready: false, workerRestarts: 0 });
    const metrics = await askAdmin(join(daemon.folder, 'admin.sock'), '/metrics');
    expect(metrics).toContain('basewire_ready 0');
    // More than fits the ring between the workers: what is for a is dropped.
    await until('the ring to be full', async () => {
      for (let times = 0; times < 10; times++) step();
      return (await daemon.count('b', 'handoffFull')) > 0;
    });
    expect(pair.cut, 'the pair’s connections stay').toBe(false);
    await pair.expectNoLoss(200);
    expect(pair.arrived - arrived, 'nothing was lost meanwhile').toBe(pair.sent - sent);
    await world.balance();

    fifo.release();
    await until(
      'it to be replaced',
      async () => {
        const status = (await daemon.status()) as unknown as Record<string, unknown>;
        return status.ready === true && status.workerRestarts === 1;
      },
      PATIENCE,
    );
    a.frontEnd.poll();
    expect(a.frontEnd.closed).toBe(true);
    a.close();
    a = await until('a to be let in again', () => Vm.start(daemon.socket('a')).catch(() => null));
    await daemon.untilState('a', 'running');
    await a.send(udpFrame(A, B.ip, Buffer.from('back again')));
    await until('what a says', () => {
      pair.b.pollReceived();
      return pair.b.received.splice(0).some(({ frame }) => frame.includes('back again'));
    });
    await world.balance();
    a.close();
  });
});

test('the only one: the log says why, and the process is killed', {
  timeout: 120_000,
}, async () => {
  const world = await World.start({ vms: THREE_VMS, datapath: { workers: 1 } }, OPTIONS);
  const { daemon } = world;
  try {
    inject(FAULT, 'stick');
    const b = await Vm.connect(daemon.socket('b'));
    await until('the process to end', () => !daemon.running, PATIENCE);
    b.close();
    expect(daemon.exit).toEqual({ code: null, signal: 'SIGKILL' });
    expect(said(daemon.lines, 'fatal')).toEqual([
      expect.objectContaining({
        worker: 0,
        reason: 'stuck inside a system call (its loop stood still for 1.75 seconds)',
      }),
    ]);
  } finally {
    await daemon.kill();
  }
});

test('SIGTERM while one is stuck: the others end as they do, the log says what the process is killed for', {
  timeout: 120_000,
}, async () => {
  const world = await World.start({ vms: THREE_VMS, datapath: { workers: 2 } }, OPTIONS);
  const { daemon } = world;
  try {
    inject(`${FAULT}.1`, 'stick');
    const b = await Vm.connect(daemon.socket('b')); // wakes it
    await until('the log to say so', () => said(daemon.lines, 'error').length > 0, PATIENCE);
    b.close();
    await expect(daemon.stop()).rejects.toThrow('"signal":"SIGKILL"');
    expect(said(daemon.lines, 'warn').map(({ msg }) => msg)).toEqual([
      'a turn worker is stuck inside a system call: this process is killed',
    ]);
    expect(daemon.lines.at(-1)).toContain('"stopped"');
  } finally {
    await daemon.kill();
  }
});
