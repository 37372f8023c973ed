/** What the system refuses when a worker has failed costs an adapter, not the worker that is to be started in its place. */
import { expect, test } from 'vitest';
import { AdapterSockets } from '../../src/supervision/adapter-sockets.ts';

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
