/**
 * A worker thread for one test: runs CommonJS code with `native`, `parentPort` and `workerData` at hand.
 */
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';

const addon = fileURLToPath(new URL('../../build/Release/basewire.node', import.meta.url));

/** The worker's first message; the worker has ended (or been terminated) when this resolves. */
export async function runWorker(code: string, workerData: unknown): Promise<unknown> {
  const worker = new Worker(
    `const { parentPort, workerData } = require('node:worker_threads');
     const native = require(${JSON.stringify(addon)});
     ${code}`,
    { eval: true, workerData },
  );
  try {
    const [message] = await once(worker, 'message');
    return message;
  } finally {
    await worker.terminate();
  }
}
