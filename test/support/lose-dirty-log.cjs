// A fault in the turn worker, for tests only: preloaded with `node --require`, which worker threads inherit. The dirty log is all that the
// worker writes with Atomics.or (src/virtio/dirty-log.ts). While there is a file named by BASEWIRE_TEST_LOSE, guest pages between the two
// numbers in it are not marked.
const { existsSync, readFileSync } = require('node:fs');
const { isMainThread } = require('node:worker_threads');

const file = process.env.BASEWIRE_TEST_LOSE;
if (!isMainThread && file) {
  const or = Atomics.or;
  Atomics.or = (array, byte, bit) => {
    if (existsSync(file)) {
      const [first, last] = readFileSync(file, 'utf8').split(' ').map(Number);
      const page = byte * 8 + Math.log2(bit);
      if (page >= first && page <= last) return Atomics.load(array, byte);
    }
    return or(array, byte, bit);
  };
}
