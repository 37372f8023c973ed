/** The main thread as a whole, with a turn worker that moves nothing. */
import {
  chmodSync,
  closeSync,
  existsSync,
  lstatSync,
  openSync,
  readFileSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { askAdmin } from '../../src/admin/client.ts';
import type { BasePlan } from '../../src/plan.ts';
import { Daemon } from '../../src/daemon.ts';
import { Log } from '../../src/log.ts';
import { until } from '../support/until.ts';
import { testFolder, testPlan } from './folder.ts';

function startDaemon(
  mode: string,
  options: { plan?: (folder: string) => BasePlan; admin?: string; required?: boolean } = {},
) {
  process.env.FAKE_WORKER_MODE = mode;
  const folder = testFolder();
  const plan = (options.plan ?? testPlan)(folder);
  const logFile = join(folder, 'log');
  const fd = openSync(logFile, 'a');
  const admin = options.admin ?? join(folder, 'run', 'admin.sock');
  const daemon = new Daemon({
    plan,
    log: new Log({ level: 'info', format: 'json', fd }),
    admin: { socket: admin, required: options.required ?? true },
    stateFile: null,
    exitWithFrontend: false,
    workerUrl: new URL('../support/fake-turn-worker.mjs', import.meta.url),
  });
  const outcome = daemon.run().catch((error: Error) => error);
  onTestFinished(async () => {
    daemon.stop('test');
    await outcome;
  });
  const lines = () =>
    readFileSync(logFile, 'utf8')
      .split('\n')
      .filter(Boolean)
      .map((line) => JSON.parse(line) as { msg: string; [key: string]: unknown });
  const logged = (msg: string) =>
    until(`"${msg}" in the log`, () => lines().find((line) => line.msg === msg), 15_000);
  return { daemon, outcome, folder, admin, lines, logged, plan };
}

it('is ready, answers, and stops with 0 and without a trace', async () => {
  const { daemon, outcome, admin, logged, plan, lines } = startDaemon('good');
  await logged('ready');
  expect(lstatSync(join(admin, '..')).mode & 0o777).toBe(0o750);
  const status = JSON.parse(await askAdmin(admin, '/v1/status'));
  expect(status).toMatchObject({ ready: true, workerRestarts: 0 });
  expect(existsSync(plan.vms[0]!.sockets[0]!.path)).toBe(true);
  daemon.stop('test');
  expect(await outcome).toBe(0);
  expect(existsSync(admin)).toBe(false);
  expect(existsSync(plan.vms[0]!.sockets[0]!.path)).toBe(false);
  expect(
    lines()
      .map((line) => line.msg)
      .slice(-2),
  ).toEqual(['stopping', 'stopped']);
  expect(lines().find((line) => line.msg === 'generation 1')).toMatchObject({
    vm: 'web',
    level: 'info',
    pid: process.pid,
    peerPid: 1,
  });
});

it('a signal ends it', async () => {
  const { outcome, logged } = startDaemon('good');
  await logged('ready');
  process.emit('SIGTERM', 'SIGTERM');
  expect(await outcome).toBe(0);
});

it('SIGHUP and a stray error do not', async () => {
  const { logged, admin } = startDaemon('good');
  await logged('ready');
  process.emit('SIGHUP', 'SIGHUP');
  process.emit('uncaughtException', new Error('stray'));
  await logged('unexpected error in the main thread');
  expect(JSON.parse(await askAdmin(admin, '/v1/status')).ready).toBe(true);
});

it('a worker that fails is replaced, which the status tells', async () => {
  const { admin, logged, lines } = startDaemon('throws', {
    // No socket file: the fake worker does not clear a stale one away.
    plan: (folder) => {
      const plan = testPlan(folder);
      plan.vms[0]!.sockets[0]!.path = '';
      plan.vms[0]!.sockets[0]!.fd = 0;
      return plan;
    },
  });
  await logged('a turn worker failed and is started anew');
  await until(
    'the second to be ready',
    () => lines().filter((line) => line.msg === 'ready').length === 2,
  );
  const status = JSON.parse(await askAdmin(admin, '/v1/status'));
  expect(status).toMatchObject({ ready: true, workerRestarts: 1 });
  expect(await askAdmin(admin, '/metrics')).toContain('basewire_worker_restarts_total 1');
});

it('what the worker can’t set up ends the start with its words', async () => {
  const { outcome, admin } = startDaemon('failed');
  expect(await outcome).toMatchObject({ message: 'socket /x: address in use', exitCode: 1 });
  expect(existsSync(admin)).toBe(false);
});

it('an adapter whose interface is missing is refused in words', async () => {
  const { logged } = startDaemon('asks');
  expect(await logged('answer')).toMatchObject({
    kind: 'adapterRefused',
    adapter: 0,
    reason: expect.stringMatching(/there is no interface bw-none on this host/),
  });
});

it('the loopback interface is no adapter', async () => {
  const { logged } = startDaemon('asks', { plan: (folder) => testPlan(folder, 'lo') });
  expect(await logged('answer')).toMatchObject({ reason: 'lo is no Ethernet interface' });
});

it('log lines that a guest causes are limited', async () => {
  const { lines, logged, daemon, outcome } = startDaemon('floods');
  await logged('ready');
  await logged('refused');
  daemon.stop('test');
  await outcome;
  expect(lines().filter((line) => line.msg === 'refused').length).toBeLessThan(60);
});

it('an admin socket that can’t be made ends the start only if it was asked for', async () => {
  const blocked = testFolder();
  writeFileSync(join(blocked, 'admin.sock'), '');
  const asked = startDaemon('good', { admin: join(blocked, 'admin.sock') });
  expect(await asked.outcome).toMatchObject({
    message: expect.stringMatching(/admin socket: .* is not a socket/),
  });
  const unasked = startDaemon('good', { admin: join(blocked, 'admin.sock'), required: false });
  await unasked.logged('ready');
  expect(readFileSync(join(blocked, 'admin.sock'), 'utf8')).toBe('');
  chmodSync(blocked, 0o700);
  closeSync(openSync(join(blocked, 'admin.sock'), 'r'));
});
