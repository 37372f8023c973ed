// Faults inside the turn worker, for tests only: preloaded with `node --require`, which worker threads inherit. When the file named by
// BASEWIRE_TEST_FAULT appears, the worker's next look at the clock does what it says: throw, hang, or end the thread. With a dot and a
// number behind its name it means only that worker.
const { existsSync, readFileSync, rmSync } = require('node:fs');
const { isMainThread, workerData } = require('node:worker_threads');

const file = process.env.BASEWIRE_TEST_FAULT;
if (!isMainThread && file && workerData?.plan) {
  let looks = 0;
  const look = () => {
    if (++looks % 16 !== 0) return;
    const found = [file, `${file}.${workerData.worker}`].find((name) => existsSync(name));
    if (found === undefined) return;
    const what = readFileSync(found, 'utf8');
    rmSync(found);
    if (what === 'throw') throw new Error('injected');
    if (what === 'hang') for (;;);
    if (what === 'end') process.exit(3);
  };
  // The clock is the addon's.
  const open = process.dlopen;
  process.dlopen = (module, name, ...rest) => {
    open.call(process, module, name, ...rest);
    const { exports } = module;
    if (!name.endsWith('/basewire.node')) return;
    const readClock = () => {
      look();
      exports.readClock();
    };
    module.exports = { ...exports, readClock };
  };
}
