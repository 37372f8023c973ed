// The kernel watches no further descriptor for a turn worker (ENOSPC: fs.epoll.max_user_watches), for tests only: preloaded with `node --require`,
// which worker threads inherit. While there is a file named by BASEWIRE_TEST_FAULT; one beside it, `.met`, appears when that was met.
const { existsSync, writeFileSync } = require('node:fs');
const { isMainThread, workerData } = require('node:worker_threads');

const file = process.env.BASEWIRE_TEST_FAULT;
if (!isMainThread && file && workerData?.plan) {
  const open = process.dlopen;
  process.dlopen = (module, name, ...rest) => {
    open.call(process, module, name, ...rest);
    const { exports } = module;
    if (!name.endsWith('/basewire.node')) return;
    const createWaiter = (...words) => {
      const waiter = exports.createWaiter(...words);
      const add = (...watch) => {
        if (!existsSync(file)) return waiter.add(...watch);
        writeFileSync(`${file}.met`, '');
        const error = new Error('ENOSPC: no space left on device, epoll_ctl');
        throw Object.assign(error, { code: 'ENOSPC' });
      };
      return { ...waiter, events: waiter.events, add };
    };
    // Own properties: native.ts copies the object.
    module.exports = { ...exports, createWaiter };
  };
}
