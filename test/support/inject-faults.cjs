// Faults inside the turn worker, for tests only: preloaded with `node --require`, which worker threads inherit. When the file named by
// BASEWIRE_TEST_FAULT appears, the worker's next look at the clock does what it says: throw, hang, or end the thread; or throw as
// soon as datagrams are in base storage; or wait inside a system call that nothing but the other end of a FIFO ends. With a dot and a number behind its name it means only that worker.
const { closeSync, existsSync, openSync, readFileSync, rmSync } = require('node:fs');
const { isMainThread, workerData } = require('node:worker_threads');

const file = process.env.BASEWIRE_TEST_FAULT;
if (!isMainThread && file && workerData?.plan) {
  let looks = 0;
  let losing = false;
  const look = () => {
    if (++looks % 16 !== 0) return;
    const found = [file, `${file}.${workerData.worker}`].find((name) => existsSync(name));
    if (found === undefined) return;
    const what = readFileSync(found, 'utf8');
    rmSync(found);
    if (what === 'throw') throw new Error('injected');
    if (what === 'hang') for (;;);
    if (what === 'end') process.exit(3);
    if (what === 'lose') losing = true;
    if (what === 'stick') closeSync(openSync(`${file}.fifo`, 'r'));
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
    const gatherCopies = (count) => {
      const refused = exports.gatherCopies(count);
      if (losing) throw new Error('injected with datagrams in base storage');
      return refused;
    };
    // Own properties: native.ts copies the object.
    module.exports = { ...exports, readClock, gatherCopies };
  };
}
