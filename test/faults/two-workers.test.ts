/**
 * Two turn workers, of which one fails: the other's VMs lose nothing, datagrams between the two flow again when the lost one has been
 * replaced, and the books balance, with what was on its way between them.
 */
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { native } from '../../src/native.ts';
import { parse } from '../support/packets.ts';
import { inject } from '../support/inject.ts';
import { A, B, C, type Host, THREE_VMS, udpFrame } from '../support/traffic.ts';
import { until } from '../support/until.ts';
import { Vm } from '../support/vm.ts';
import { World } from '../support/world.ts';
import { Pair } from './pair.ts';

const PRELOAD = fileURLToPath(new URL('../support/inject-faults.cjs', import.meta.url));
const FAULT = join(tmpdir(), `basewire-fault-two-${process.pid}`);
const D: Host = { mac: '52:54:00:00:00:0d', ip: '10.77.0.13' };

/** b and c are `worker`'s, a and d the other's. */
function config(worker: number) {
  const other = 1 - worker;
  return {
    vms: {
      a: { ...THREE_VMS.a, worker: other },
      b: { ...THREE_VMS.b, worker },
      c: { ...THREE_VMS.c, worker },
      d: { addresses: [D.ip], mac: D.mac, worker: other },
    },
    datapath: { workers: 2 },
  };
}

describe.each([1, 0])('worker %i fails', { timeout: 90_000 }, (lost) => {
  let world: World;
  let pair: Pair;
  let a: Vm;
  let restarts = 0;
  beforeAll(async () => {
    world = await World.start(config(1 - lost), {
      nodeArguments: ['--require', PRELOAD],
      environment: { BASEWIRE_TEST_FAULT: FAULT },
    });
    pair = await Pair.start(world.daemon);
  });
  afterAll(async () => {
    pair?.close();
    await world?.close();
  });
  beforeEach(async () => {
    a = await Vm.start(world.daemon.socket('a'), { memory: { sealable: false } });
    await world.daemon.untilState('a', 'running');
  });
  afterEach(() => a.close());

  test.each([
    ['throw', /it threw: Error: injected/],
    ['hang', /its loop stood still for 1\.75 seconds/],
    ['end', /it ended with code 3/],
    ['lose', /it threw: Error: injected with datagrams in base storage/],
  ])('%s: the other worker’s VMs lose nothing', async (what, reason) => {
    const { daemon } = world;
    await pair.untilFlows();
    await pair.expectNoLoss(50);
    const descriptors = daemon.descriptors().length;
    const from = daemon.lines.length;
    const { sent, arrived } = pair;
    inject(`${FAULT}.${lost}`, what);
    // The pair goes on all the time, and floods the lost worker's VM besides.
    let asked = 0;
    await until(
      'the worker to be replaced',
      async () => {
        for (let n = 0; n < 20; n++) {
          if (pair.sent - (sent + pair.arrived - arrived) < 100) pair.step();
          else pair.take();
          pair.b.trySend(udpFrame(B, A.ip, Buffer.from('are you there?')));
          a.trySend(udpFrame(A, C.ip, Buffer.from('I was')));
        }
        if (++asked % 10 !== 0) return false;
        const status = (await daemon.status()) as unknown as Record<string, unknown>;
        return status.ready === true && status.workerRestarts === restarts + 1;
      },
      30_000,
    );
    restarts++;
    expect(pair.cut, 'the pair’s connections stay').toBe(false);
    await pair.expectNoLoss(200);
    expect(pair.arrived - arrived, 'nothing was lost meanwhile').toBe(pair.sent - sent);
    expect(daemon.lines.slice(from).some((line) => reason.test(line))).toBe(true);
    expect(daemon.lines.slice(from).some((line) => line.includes(`"worker":${lost}`))).toBe(true);

    // The lost worker's VM comes back, and there and back it flows.
    a.frontEnd.poll();
    expect(a.frontEnd.closed).toBe(true);
    a.close();
    a = await until('a to be let in again', () => Vm.start(daemon.socket('a')).catch(() => null));
    await daemon.untilState('a', 'running');
    await a.send(udpFrame(A, C.ip, Buffer.from('back again')));
    await until('what a says', () => {
      pair.c.pollReceived();
      return pair.c.received
        .splice(0)
        .some(({ frame }) => parse(frame).udp?.payload.toString() === 'back again');
    });
    await pair.b.send(udpFrame(B, A.ip, Buffer.from('welcome')));
    await until('what b says', () => {
      a.pollReceived();
      return a.received
        .splice(0)
        .some(({ frame }) => parse(frame).udp?.payload.toString() === 'welcome');
    });
    await world.balance();
    expect(daemon.running).toBe(true);
    await until('descriptors as before', () => daemon.descriptors().length <= descriptors);
  });

  test('a VM of that worker truncates its memory: the other VMs of either worker go on', async () => {
    const { daemon } = world;
    const d = await world.vm('d');
    await a.send(udpFrame(A, D.ip, Buffer.from('before')));
    expect(parse((await d.receive()).frame).udp!.payload.toString()).toBe('before');
    await pair.untilFlows();
    await pair.expectNoLoss(20);
    const faults = await daemon.count('a', 'memoryFaults');
    const { sent, arrived } = pair;
    expect(native.truncate(a.memory.regions[0].descriptor, 0)).toBe(0);
    a.transmitQueue().kick();
    await until('a to be cut off', async () => {
      if (pair.sent - (sent + pair.arrived - arrived) < 100) pair.step();
      else pair.take();
      return (await daemon.count('a', 'memoryFaults')) === faults + 1;
    });
    await daemon.untilState('a', 'waiting');
    expect((await daemon.vm('d')).state).toBe('running');
    await pair.b.send(udpFrame(B, D.ip, Buffer.from('to d')));
    expect(parse((await d.receive()).frame).udp!.payload.toString()).toBe('to d');
    await pair.expectNoLoss(100);
    expect(pair.arrived - arrived).toBe(pair.sent - sent);
    await world.balance();
    d.close();
    await daemon.untilState('d', 'waiting');
  });
});

test('SIGTERM while both work ends both, and the process with 0', async () => {
  const world = await World.start(config(0));
  const pair = await Pair.start(world.daemon);
  try {
    await pair.untilFlows();
    for (let i = 0; i < 50; i++) pair.b.trySend(udpFrame(B, A.ip, Buffer.from('x')));
    await world.daemon.stop();
    expect(world.daemon.exit).toEqual({ code: 0, signal: null });
  } finally {
    pair.close();
    await world.close();
  }
});

test('SIGTERM while a worker is away: the other does not wait for it', {
  timeout: 90_000,
}, async () => {
  const world = await World.start(config(0), {
    nodeArguments: ['--require', PRELOAD],
    environment: { BASEWIRE_TEST_FAULT: FAULT },
  });
  const { daemon } = world;
  const pair = await Pair.start(daemon); // of worker 0
  try {
    // Each pause is twice as long as the one before: in the last one there is time enough to end.
    for (const pause of [100, 200, 400, 800]) {
      inject(`${FAULT}.1`, 'end');
      await until(
        'the worker to fail',
        () => {
          pair.step();
          // Wakes it.
          pair.b.trySend(udpFrame(B, A.ip, Buffer.from('are you there?')));
          return daemon.lines.some((line) => line.includes(`"pauseMs":${pause},`));
        },
        30_000,
      );
    }
    const terminated = daemon.stop();
    await until('the last line', () => daemon.lines.some((line) => line.includes('"stopped"')));
    await terminated;
    expect(daemon.exit).toEqual({ code: 0, signal: null });
    expect(daemon.lines.filter((line) => line.includes('did not end in time'))).toEqual([]);
  } finally {
    pair.close();
    await world.close();
  }
});
