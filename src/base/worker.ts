/**
 * A turn worker: one thread that owns its VMs wholly - sockets, memory, rings - and, the first one, the adapters' rings. It runs turns
 * while there is work, serves sockets between them, and sleeps in one native wait. It does not live in Node's event loop:
 * messages from the main thread are taken when the wake eventfd says so. It returns there for a moment only, when guest memory has been viewed many
 * times: of each view Node leaves something behind that it disposes of there.
 */
import { parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads';
import { BEAT } from '../beat.ts';
import type { Handoff } from '../handoff/handoff.ts';
import { native } from '../native.ts';
import { Base } from './base.ts';
import { Moderation } from './moderation.ts';
import { Patience } from './patience.ts';
import type { FromWorker, ToWorker, WorkerStart } from './messages.ts';
import { EPOLLIN } from '../watcher.ts';

/** While turns run without a pause, sockets are looked at this often: an answer to QEMU must not wait a millisecond. */
const LOOK_INTERVAL = 0.1; // milliseconds
/** Longer than this they are not looked away from, however long the last look took: we may have lost our core in its midst. */
const MOST_AWAY = 2; // milliseconds
/** Turns that find next to nothing between two looks at the clock, which would be a fifth of their time; a few microseconds in all. */
const TURNS_PER_CLOCK = 8;
const NEXT_TO_NOTHING = 8; // datagrams
/** Messages of the main thread that are taken between two turns. */
const MESSAGES = 64;
/** Views of memory, some twenty for each start of a VM, after which Node is let dispose of those that are gone. */
const VIEWS = 1024;

/**
 * Milliseconds that a worker which ends waits for the others' last datagrams, and then for its VMs to take them; microseconds
 * between two looks.
 */
const LAST_TURNS = 700;
const LAST_BACKLOGS = 100;
const LAST_LOOK = 200;

const start = workerData as WorkerStart;
const post = (message: FromWorker): void => parentPort!.postMessage(message);
const time = native.clock;
const clock = (): number => {
  native.readClock();
  return time[0];
};

/** Goes to the core that the plan names for this worker. That it can be had was known when the daemon started. */
function takeCore(cores: readonly number[]): void {
  if (cores.length === 0) return;
  const core = cores[start.worker];
  try {
    native.setCores(0, Int32Array.of(core));
  } catch (error) {
    const message = `turn worker ${start.worker} can’t have core ${core} any more, and runs elsewhere: ${(error as Error).message}`;
    post({ kind: 'log', level: 'warn', message });
  }
}

async function run(): Promise<void> {
  const { plan } = start;
  takeCore(plan.datapath.cores);
  const beat = new Int32Array(start.beat);
  const base = new Base(native, plan, start.counters, post, clock, start.worker, start.handoff);
  const orders: Orders = { stop: false, away: [] };
  base.watcher.watch(start.wakeFd, EPOLLIN, false, () => {
    native.drain(start.wakeFd);
    for (let left = MESSAGES; left > 0; left--) {
      const received = receiveMessageOnPort(parentPort!);
      if (received === undefined) return;
      const message = received.message as ToWorker;
      if (message.kind === 'stop') {
        orders.stop = true;
        orders.away = message.away;
      } else base.receive(message);
    }
    native.signal(start.wakeFd); // the rest behind the next turn
  });
  try {
    base.open(() => Atomics.load(beat, BEAT.ending) !== 0);
    base.restore(start.state);
  } catch (error) {
    // Whoever hears of it ends this thread.
    base.close();
    post({ kind: 'failed', message: (error as Error).message });
    return;
  }
  post({ kind: 'ready' });

  for (;;) {
    serve(base, beat, orders);
    if (orders.stop) break;
    await nodesLoop();
    native.views[0] = 0;
  }
  const { handoff } = base;
  if (handoff !== null) takeLast(base, handoff, orders.away);
  base.tellState();
  base.close();
  post({ kind: 'stopped' });
}

/** What the main thread wants: see `ToWorker`. */
interface Orders {
  stop: boolean;
  away: readonly number[];
}

/** Turns, and what is to be done between them, until the worker is to stop or Node has views to dispose of. */
function serve(base: Base, beat: Int32Array, orders: Orders): void {
  const { turn, watcher, deadline, handoff } = base;
  const { poll, restMicroseconds, spinMicroseconds } = start.plan.datapath;
  turn.attention.spin = spinMicroseconds / 1000;
  const busyPolling = poll === 'busy';
  // Times stand in cells: V8 makes an object of each fraction that lives in a variable from one round to the next.
  const lastLook = new Float64Array(1);
  const readClock = (): void => {
    native.readClock();
    turn.time[0] = time[0];
  };
  readClock();
  let untilClock = TURNS_PER_CLOCK;
  const patience = new Patience(turn.time);
  const moderation = new Moderation(turn.time);
  const { views } = native;
  while (!orders.stop) {
    beat[BEAT.rounds] = (beat[BEAT.rounds] + 1) | 0;
    const found = turn.run();
    if (found >= NEXT_TO_NOTHING || --untilClock === 0) {
      readClock();
      untilClock = TURNS_PER_CLOCK;
    }
    let rest = false;
    if (!busyPolling) {
      if (moderation.resting) {
        // Between rests we ask nobody to notify us.
        if (found > 0) moderation.worked(found, turn.deliveredBytes);
        else rest = !turn.unfinished && moderation.rests(beat[BEAT.crowded] !== 0);
      } else {
        if (found > 0) {
          patience.worked();
          moderation.worked(found, turn.deliveredBytes);
        }
        turn.attention.quieten(found === 0 && !patience.pays);
      }
    }
    base.checkFaults();
    if (time[0] >= deadline.at[0]) {
      const now = time[0];
      if (deadline.take(now)) {
        turn.tell(); // timers may serve requests
        deadline.by(now + Math.max(base.tick(now), 1));
      }
    }
    if (!rest && (busyPolling || turn.busy)) {
      if (time[0] - lastLook[0] < LOOK_INTERVAL) continue;
      turn.tell();
      lastLook[0] = time[0]; // whoever is served moves the clock
      if (watcher.wait(0) > 0) {
        // What was found takes as much of our time as turns do, at most.
        readClock();
        const looked = time[0] - lastLook[0];
        lastLook[0] = time[0] + Math.min(MOST_AWAY, Math.max(0, looked - LOOK_INTERVAL));
        if (views[0] >= VIEWS) return;
      }
      continue;
    }
    if (handoff !== null && !handoff.fallAsleep()) continue;
    turn.tell();
    if (rest) watcher.wait(Math.min(restMicroseconds, deadline.left(time[0])), beat);
    else {
      if (!base.fallAsleep()) {
        handoff?.wakeUp();
        continue;
      }
      patience.fellAsleep();
      if (restMicroseconds > 0) moderation.fellAsleep(patience.pays, beat[BEAT.crowded] !== 0);
      watcher.wait(deadline.left(time[0]), beat);
    }
    beat[BEAT.waits]++;
    if (handoff !== null) handoff.wakeUp();
    readClock();
    lastLook[0] = time[0];
    if (views[0] >= VIEWS) return;
  }
}

/** One round of Node's event loop. */
function nodesLoop(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/**
 * What the other workers took from their VMs for ours is delivered before we end: a restart loses nothing. `away`: those that
 * do not run.
 */
function takeLast(base: Base, handoff: Handoff, away: readonly number[]): void {
  handoff.beQuiet();
  for (const worker of away) handoff.expectNothing(worker);
  let deadline = clock() + LAST_TURNS;
  let complete = false;
  for (;;) {
    const now = clock();
    base.turn.time[0] = now;
    const { othersQuiet } = handoff;
    base.turn.runHanded();
    if (!complete && othersQuiet && !handoff.hasWork()) {
      complete = true;
      deadline = Math.min(deadline, now + LAST_BACKLOGS);
    }
    if (complete && (!base.turn.lookAtBacklogs() || now >= deadline)) return;
    if (now >= deadline) {
      const message = 'another turn worker did not end in time: what it hands over now is lost';
      post({ kind: 'log', level: 'warn', message });
      return;
    }
    if (!handoff.hasWork()) base.watcher.wait(LAST_LOOK);
  }
}

// What it throws is the thread's end.
await run();
