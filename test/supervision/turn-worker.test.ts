/** A turn worker that fails is noticed, ended with all it held, and replaced. */
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import type { FromWorker } from '../../src/base/messages.ts';
import { BaseState } from '../../src/base-state.ts';
import { prepareSocketPath } from '../../src/socket-file.ts';
import { TurnWorker } from '../../src/supervision/turn-worker.ts';
import { Fifo } from '../support/fifo.ts';
import { until } from '../support/until.ts';
import { descriptorCount, testFolder, testPlan } from './folder.ts';

/** Some seven seconds until a thread counts as stuck, on a machine with nothing else to do. */
const STUCK_MS = 30_000;

function startWorker(mode: string, startDeadlineMs?: number) {
  process.env.FAKE_WORKER_MODE = mode;
  const plan = testPlan(testFolder());
  const state = new BaseState(plan);
  const seen = {
    messages: [] as FromWorker[],
    lost: [] as { reason: string; pauseMs: number }[],
    fatal: [] as string[],
    stuck: [] as string[],
    ends: 0,
  };
  const worker = new TurnWorker({
    url: new URL('../support/fake-turn-worker.mjs', import.meta.url),
    plan,
    worker: 0,
    handoff: () => null,
    counters: state.counters.blocks[0]!.buffer,
    state: () => null,
    onMessage: (message) => seen.messages.push(message),
    ...(startDeadlineMs !== undefined && { startDeadlineMs }),
    onLost: (reason, pauseMs) => {
      seen.lost.push({ reason, pauseMs });
      // As a real worker does before it listens.
      prepareSocketPath(plan.vms[0]!.sockets[0]!.path);
    },
    onFatal: (reason) => seen.fatal.push(reason),
    onStuck: (reason) => seen.stuck.push(reason),
    onEnd: () => {
      seen.ends += 1;
    },
  });
  onTestFinished(async () => {
    await worker.stop(500);
  });
  worker.start();
  const ready = () => seen.messages.filter((message) => message.kind === 'ready').length;
  return { worker, seen, ready, state, plan };
}

it('a good one serves, and stops when asked', async () => {
  const { worker, seen, ready } = startWorker('good');
  await until('ready', () => ready() === 1);
  expect(worker.phase).toBe('serving');
  expect(await worker.stop(2000)).toBe(true);
  expect(worker.phase).toBe('stopped');
  expect(seen.lost).toEqual([]);
});

it.each([
  ['throws', /it threw: Error: a bug/],
  ['ends', /it ended with code 0/],
  ['hangs', /its loop stood still for 1\.75 seconds/],
])('one that %s is replaced', async (mode, reason) => {
  const { worker, seen, ready } = startWorker(mode);
  await until('the first to be ready', () => ready() === 1);
  const held = descriptorCount();
  await until('the second to be ready', () => ready() === 2, 15_000);
  expect(seen.lost).toHaveLength(1);
  expect(seen.lost[0]!.reason).toMatch(reason);
  expect(seen.fatal).toEqual([]);
  expect(worker.phase).toBe('serving');
  // The second holds as much as the first did: nothing of the first is left.
  await until('no descriptor left behind', () => descriptorCount() <= held);
  expect(await worker.stop(2000)).toBe(true);
});

it('one that is stuck inside a system call stays lost, and is replaced when that returns', async () => {
  const fifo = new Fifo(join(testFolder(), 'fifo'));
  process.env.FAKE_WORKER_FIFO = fifo.path;
  const { worker, seen, ready } = startWorker('sticks');
  // Before it is stopped.
  onTestFinished(() => fifo.remove());
  await until('the first to be stuck', () => seen.stuck.length === 1, STUCK_MS);
  expect(seen.stuck).toEqual(['its loop stood still for 1.75 seconds']);
  expect({ phase: worker.phase, stuck: worker.stuck, away: worker.away }).toEqual({
    phase: 'lost',
    stuck: true,
    away: true,
  });
  expect(seen.lost).toEqual([]);
  fifo.release();
  await until('the second to be ready', () => ready() === 2, STUCK_MS);
  expect(seen.lost.map(({ reason }) => reason)).toEqual(seen.stuck);
  expect(seen.fatal).toEqual([]);
  expect({ phase: worker.phase, stuck: worker.stuck }).toEqual({ phase: 'serving', stuck: false });
});

it('one that fails before it ever was ready is not tried again', async () => {
  const failed = startWorker('failed');
  await until('the failure', () => failed.seen.fatal.length === 1);
  expect(failed.seen.fatal).toEqual(['socket /x: address in use']);
  expect(failed.seen.lost).toEqual([]);
  const thrown = startWorker('throwsAtOnce');
  await until('the failure', () => thrown.seen.fatal.length === 1);
  expect(thrown.seen.fatal[0]).toMatch(/broken from the start/);
});

it('one that never gets ready is ended, and not tried again', async () => {
  const { seen } = startWorker('neverReady', 1000);
  await until('the failure', () => seen.fatal.length === 1);
  expect(seen.fatal).toEqual(['it was not ready within 1 seconds']);
  expect(seen.lost).toEqual([]);
});

it('one that gets ready when it was told to stop is not taken for one that serves', async () => {
  const { worker, seen, ready } = startWorker('readyLate');
  expect(await worker.stop(5000)).toBe(true);
  expect(worker.phase).toBe('stopped');
  expect(ready()).toBe(0);
  expect(seen.lost).toEqual([]);
});

it('one that does not stop when asked is ended', async () => {
  const { worker, ready } = startWorker('deafToStop');
  await until('ready', () => ready() === 1);
  expect(await worker.stop(100)).toBe(false);
  expect(worker.phase).toBe('stopped');
});

it('one that ends of its own accord says so', async () => {
  const { seen } = startWorker('frontendEnds');
  await until('the end', () => seen.ends === 1);
  expect(seen.lost).toEqual([]);
});

it('messages to a worker that is gone are refused', async () => {
  const { worker, ready } = startWorker('good');
  await until('ready', () => ready() === 1);
  await worker.stop(1000);
  expect(worker.send({ kind: 'adapterRefused', adapter: 0, reason: '' })).toBe(false);
});

it('what waited or was in base storage when the worker was lost is booked as dropped', () => {
  const state = new BaseState(testPlan('/tmp'));
  state.counters.blocks[0]!.add(0, 'receivedDatagrams', 12);
  state.counters.blocks[0]!.add(0, 'spoofed', 1);
  state.counters.blocks[0]!.add(0, 'delivered', 7);
  state.counters.blocks[0]!.add(0, 'waiting', 3);
  state.workerLost(0);
  expect(state.counters.get(0, 'waiting')).toBe(0);
  expect(state.counters.get(0, 'workerLost')).toBe(4);
});

it('the connections that a lost worker had are counted as ended, each once', () => {
  const state = new BaseState(testPlan('/tmp'));
  state.counters.blocks[0]!.add(0, 'connects', 5);
  state.counters.blocks[0]!.add(0, 'disconnects', 3);
  for (let times = 0; times < 2; times++) {
    state.workerLost(0);
    expect(state.counters.get(0, 'disconnects')).toBe(5);
  }
});
