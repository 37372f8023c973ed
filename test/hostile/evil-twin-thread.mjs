// The evil twin: a thread that maps the attacker's guest memory a second time and rewrites descriptors, headers and addresses as
// fast as it can while its VM sends. Plain JavaScript, as worker threads of Node 20 load no TypeScript.
import { createRequire } from 'node:module';
import { workerData } from 'node:worker_threads';

const { addon, descriptor, offset, length, places, stop } = workerData;
const native = createRequire(import.meta.url)(addon);
const handle = native.mapRegion(descriptor, offset, length);
const bytes = new Uint8Array(native.viewRegion(handle, 0, length));
const halt = new Int32Array(stop);

// Each place: an offset into the region and the values that it flips between.
for (let round = 0; Atomics.load(halt, 0) === 0; round++) {
  for (let i = 0; i < 2000; i++) {
    const { at, values } = places[(i * 7 + round) % places.length];
    bytes.set(values[(i + round) % values.length], at);
  }
}
native.unmapRegion(handle);
