// Faults inside the turn worker, for tests only: preloaded with `node --require`, which worker threads inherit. When the file named by
// BASEWIRE_TEST_FAULT appears, the worker's next look at the clock does what it says: throw, hang, or end the thread.
const { existsSync, readFileSync, rmSync } = require('node:fs');
const { isMainThread, workerData } = require('node:worker_threads');

const file = process.env.BASEWIRE_TEST_FAULT;
if (!isMainThread && file && workerData?.plan) {
  const now = performance.now.bind(performance);
  let looks = 0;
  performance.now = () => {
    if (++looks % 16 === 0 && existsSync(file)) {
      const what = readFileSync(file, 'utf8');
      rmSync(file);
      if (what === 'throw') throw new Error('injected');
      if (what === 'hang') for (;;);
      if (what === 'end') process.exit(3);
    }
    return now();
  };
}
