/** What the system refuses when a worker has failed costs an adapter, not the worker that is to be started in its place. */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { AdapterSockets } from '../../src/supervision/adapter-sockets.ts';

const child = fileURLToPath(new URL('adapter-sockets-child.ts', import.meta.url));
const pair = 'ip link add bwa type veth peer name bwb'.split(' ');
const noPair = spawnSync('unshare', ['-n', ...pair]).status !== 0;

const NO_DESCRIPTOR = 999_999;

test('kept sockets that can’t be had again do not keep others from being ended', () => {
  const plan = { name: 'uplink', interface: 'none', mac: null };
  const kept = { rings: NO_DESCRIPTOR, doorbell: NO_DESCRIPTOR };
  const plans = [plan, plan] as never;
  const warnings: string[] = [];
  const sockets = new AdapterSockets(
    plans,
    [kept, kept],
    () => true,
    (adapter, message) => warnings.push(`${adapter}: ${message}`),
  );
  sockets.workerLost();
  expect(warnings).toEqual(Array(2).fill(expect.stringMatching(/^uplink: .*EBADF/)));
});

test.for([
  ['no worker is there to take', '', [false, false]],
  ['a worker has its own descriptors of', 'taken', [true, true]],
] as const)('packet sockets that %s are not kept open', ([, taken, before], { skip }) => {
  skip(noPair, 'needs a network namespace with a veth pair');
  const run = spawnSync('unshare', ['-n', process.execPath, '--import', 'tsx', child, taken], {
    encoding: 'utf8',
  });
  expect(run.stderr).toBe('');
  expect(JSON.parse(run.stdout)).toEqual({
    kind: 'adapterOpened',
    before,
    behind: [false, false],
  });
});
