/** A worker that is ended while one of its calls fails takes nobody with it: its error can't be thrown any more, and that is all. */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

const addon = fileURLToPath(new URL('../../build/Release/basewire.node', import.meta.url));

/** In a process of its own, which it would take along. */
const PROGRAM = `
const { once } = require('node:events');
const { Worker } = require('node:worker_threads');
const fails = \`
const native = require(${JSON.stringify(addon)});
require('node:worker_threads').parentPort.postMessage('on');
for (;;) {
  try { native.closeDescriptor(999_999); } catch {}
  try { native.unixConnect('/nowhere'); } catch {}
  try { native.mapRegion(0, 0, 0); } catch {}
}\`;
(async () => {
  for (let round = 0; round < 40; round++) {
    const worker = new Worker(fails, { eval: true });
    await once(worker, 'message');
    await worker.terminate();
  }
})();
`;

test('workers that are ended while a call fails', { timeout: 120_000 }, () => {
  const { status, signal, stderr } = spawnSync(process.execPath, ['-e', PROGRAM], {
    encoding: 'utf8',
  });
  expect({ status, signal, stderr }).toEqual({ status: 0, signal: null, stderr: '' });
});
