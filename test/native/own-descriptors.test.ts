/**
 * Descriptors belong to the thread that opened them: what a worker leaves open is closed with it, however it ends, and nothing else is,
 * whatever other threads open and close meanwhile.
 */
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import { expect, test } from 'vitest';
import { native } from '../../src/native.ts';
import { isOpen } from '../support/is-open.ts';
import { until } from '../support/until.ts';

const addon = fileURLToPath(new URL('../../build/Release/basewire.node', import.meta.url));

/** One of everything that opens a descriptor; two of them are closed again. `end`: what the worker does when it is told to. */
function open(end: string): Worker {
  return new Worker(
    `const { parentPort, workerData } = require('node:worker_threads');
     const native = require(${JSON.stringify(addon)});
     const name = '/tmp/basewire-own-' + process.pid + '-' + Math.random() + '.sock';
     const listener = native.unixListen(name, 0o600, 4);
     const client = native.unixConnect(name);
     require('node:fs').unlinkSync(name);
     const server = native.unixAccept(listener);
     const passed = native.eventfd();
     native.send(client, new Uint8Array(1), 0, 1, Int32Array.of(passed), 1);
     const fds = new Int32Array(8);
     native.receive(server, new Uint8Array(1), 0, 1, fds);
     const [one, other] = native.unixPair();
     const held = [listener, client, server, passed, fds[1], one, other, native.duplicate(passed), native.memfd('x', 4096, true), native.netlinkOpen()];
     native.createWaiter(4);
     const gone = [native.eventfd(), native.eventfd()];
     for (const fd of gone) native.closeDescriptor(fd);
     parentPort.once('message', () => { ${end} });
     parentPort.postMessage({ held, gone });`,
    { eval: true },
  );
}

test.each([
  ['ends', 'parentPort.close()'],
  ['throws', 'throw new Error("a bug")'],
  ['exits', 'process.exit(3)'],
  ['is terminated', 'for (;;);'],
])('a worker that %s', async (how, end) => {
  const worker = open(end);
  worker.on('error', () => {});
  // Not `once`, which an error would reject.
  const exit = new Promise((resolve) => worker.on('exit', resolve));
  const [{ held, gone }] = (await once(worker, 'message')) as [{ held: number[]; gone: number[] }];
  expect(held.filter((fd) => !isOpen(fd))).toEqual([]);
  // The numbers that it closed are the main thread's now, and so are new ones.
  const ours = Array.from({ length: 8 }, () => native.eventfd());
  expect(ours).toEqual(expect.arrayContaining(gone));
  const other = open('parentPort.close()');
  const [others] = (await once(other, 'message')) as [{ held: number[] }];

  worker.postMessage('end');
  if (how === 'is terminated') await worker.terminate();
  await exit;
  // Another thread closes connections in which something lies unread.
  await until('all to be closed', () => held.filter(isOpen).length === 0);
  expect([...ours, ...others.held].filter((fd) => !isOpen(fd))).toEqual([]);
  for (const fd of ours) native.closeDescriptor(fd);
  const otherExit = once(other, 'exit');
  other.postMessage('end');
  await otherExit;
  await until('the others to be closed', () => others.held.filter(isOpen).length === 0);
});
