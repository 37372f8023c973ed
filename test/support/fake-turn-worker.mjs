// A turn worker that moves no datagram and behaves as FAKE_WORKER_MODE says: good and bad ways to live and end.
// Plain JavaScript, because a worker thread is started without any loader.
import { openSync } from 'node:fs';
import { createRequire } from 'node:module';
import { parentPort, workerData } from 'node:worker_threads';

const native = createRequire(import.meta.url)('../../build/Release/basewire.node');
const { plan, counters, beat, wakeFd } = workerData;
const mode = process.env.FAKE_WORKER_MODE ?? 'good';
const cells = new Float64Array(counters);
const pulse = new Int32Array(beat);
// Cell 0 of record 0 (receivedDatagrams) tells the generations apart: counters outlive a worker.
const generation = ++cells[0];
const misbehaves = generation === 1;

const say = (message) => parentPort.postMessage(message);

parentPort.on('message', (message) => {
  native.drain(wakeFd);
  if (message.kind === 'stop') {
    if (mode === 'deafToStop') return;
    say({ kind: 'stopped' });
    clearInterval(life);
    parentPort.close();
  } else {
    say({ kind: 'log', level: 'info', adapter: 'uplink', message: 'answer', fields: message });
  }
});

if (mode === 'failed') {
  say({ kind: 'failed', message: 'socket /x: address in use' });
} else if (mode === 'neverReady') {
  for (;;);
} else if (mode === 'readyLate') {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 300);
  say({ kind: 'ready' });
} else if (mode === 'throwsAtOnce') {
  throw new Error('broken from the start');
} else {
  // What a real worker holds: a socket that listens, an eventfd, an epoll instance.
  if (plan.vms[0].sockets[0].path) native.unixListen(plan.vms[0].sockets[0].path, 0o660, 4);
  native.eventfd();
  native.createWaiter(4);
  say({ kind: 'ready' });
  say({
    kind: 'log',
    level: 'info',
    vm: plan.vms[0].name,
    message: `generation ${generation}`,
    fields: { pid: 1 },
  });
}

let rounds = 0;
const life = setInterval(() => {
  Atomics.store(pulse, 0, ++rounds);
  if (!misbehaves || rounds < 3) return;
  if (mode === 'throws') throw new Error('a bug');
  if (mode === 'ends') process.exit(0);
  if (mode === 'hangs') for (;;);
  // Until somebody opens the FIFO's other end.
  if (mode === 'sticks') openSync(process.env.FAKE_WORKER_FIFO, 'r');
  if (mode === 'asks' && rounds === 3) say({ kind: 'adapterOpen', adapter: 0 });
  if (mode === 'floods' && rounds === 3) {
    for (let i = 0; i < 1000; i++) {
      say({ kind: 'log', level: 'warn', vm: plan.vms[0].name, message: 'refused' });
    }
  }
  if (mode === 'frontendEnds' && rounds === 3) say({ kind: 'stopped' });
}, 10);
