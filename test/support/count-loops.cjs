// Counts how often a turn worker has been in Node's event loop, for tests only: preloaded with `node --require`, which worker threads inherit.
// The count stands in the file named by BASEWIRE_TEST_LOOPS.
const { writeFileSync } = require('node:fs');
const { isMainThread, workerData } = require('node:worker_threads');

const file = process.env.BASEWIRE_TEST_LOOPS;
if (!isMainThread && file && workerData?.plan) {
  let rounds = 0;
  const round = () => {
    writeFileSync(file, String(++rounds));
    setImmediate(round).unref();
  };
  round();
}
