/**
 * Keeps one turn worker running: starts it, carries messages, watches its pulse, starts a new one when it fails.
 *
 * States: starting (no 'ready' yet) → serving → either stopping → stopped, or lost → (pause) → starting. A worker is lost
 * when it throws, ends, or its loop stands still: then it is ended, and after a pause that doubles from 100 ms to 5 s a new one
 * starts. What the old one had open was closed with its thread (native/own-descriptors.h), so its front-ends see their sockets
 * close and reconnect. Of several workers each has a keeper of its own: the others go on.
 *
 * A thread inside a system call can't be ended. Such a one stays lost, with all it has open, and is replaced when the call has returned.
 */
import { Worker } from 'node:worker_threads';
import type { FromWorker, ToWorker, WorkerStart } from '../base/messages.ts';
import type { HandoffStart } from '../handoff/layout.ts';
import type { BasePlan } from '../plan.ts';
import { BEAT } from '../beat.ts';
import { native } from '../native.ts';
import { Crowd } from './crowd.ts';

/** The pulse is looked at this often; so many looks in a row without a move mean a hang (1.75 s). */
const LOOK_MS = 250;
const LOOKS = 7;
/** From the thread's start to its first round, module loading included. */
const START_DEADLINE_MS = 30_000;
/** After terminate(), before the thread counts as stuck inside a system call. */
const END_DEADLINE_MS = 5000;
const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 5000;
/** A worker that served this long was a good one: the next pause is short again. */
const GOOD_MS = 30_000;

export interface TurnWorkerOptions {
  url: URL;
  plan: BasePlan;
  /** Which worker of the plan. */
  worker: number;
  /** Its block of counters. */
  counters: SharedArrayBuffer;
  /** What it shares with other workers; null when it is the only one. Asked for at each start. */
  handoff(): HandoffStart | null;
  /** The warm state that a worker begins with. */
  state(): unknown;
  onMessage(message: FromWorker): void;
  /** The worker is gone; a new one starts after `pauseMs`. */
  onLost(reason: string, pauseMs: number): void;
  /** It can't be kept running: it failed before its first 'ready'. */
  onFatal(reason: string): void;
  /** It failed, and can't be ended: its thread is inside a system call. When that returns `onLost` follows. */
  onStuck(reason: string): void;
  /** Milliseconds from the thread's start to its first round, for tests. */
  startDeadlineMs?: number;
  /** It ended of its own accord, after 'stopped'. */
  onEnd(): void;
}

type Phase = 'idle' | 'starting' | 'serving' | 'stopping' | 'lost' | 'stopped';

export class TurnWorker {
  readonly #options: TurnWorkerOptions;
  /** The eventfd that wakes it; the same for every worker that is started here. */
  readonly wakeFd: number;
  #worker: Worker | null = null;
  #beat = new Int32Array(new SharedArrayBuffer(BEAT.cells * 4));
  #phase: Phase = 'idle';
  #everReady = false;
  #startedAt = 0;
  #pause = FIRST_PAUSE_MS;
  readonly #crowd = new Crowd();
  #rounds = 0;
  #stills = 0;
  #reason = '';
  #stuck = false;
  #watch: NodeJS.Timeout | null = null;
  #restart: NodeJS.Timeout | null = null;
  #stopped: (() => void) | null = null;

  constructor(options: TurnWorkerOptions) {
    this.#options = options;
    this.wakeFd = native.eventfd();
  }

  get phase(): Phase {
    return this.#phase;
  }

  /** It does not run, or is being ended: it hands over nothing more before it is started again. */
  get away(): boolean {
    return this.#phase !== 'starting' && this.#phase !== 'serving';
  }

  /** Whether a thread runs: after stop() that means it is stuck inside a system call. */
  get alive(): boolean {
    return this.#worker !== null;
  }

  /** Its thread can't be ended: it is inside a system call, and may be for ever. */
  get stuck(): boolean {
    return this.#stuck;
  }

  /** Starts the first worker. */
  start(): void {
    this.#spawn();
    this.#watch = setInterval(() => this.#look(), LOOK_MS);
  }

  /** False when there is no worker to take the message. */
  send(message: ToWorker): boolean {
    if (!this.#worker || (this.#phase !== 'serving' && this.#phase !== 'starting')) return false;
    this.#worker.postMessage(message);
    native.signal(this.wakeFd);
    return true;
  }

  /**
   * Asks the worker to quiesce and waits at most `milliseconds`; then ends it anyway. True when it did so in time. `away`: which workers
   * were so when the base began to end.
   */
  async stop(milliseconds: number, away: number[] = []): Promise<boolean> {
    if (this.#watch) clearInterval(this.#watch);
    if (this.#restart) clearTimeout(this.#restart);
    const worker = this.#worker;
    if (!worker) {
      this.#phase = 'stopped';
      return true;
    }
    let inTime = true;
    if (this.#phase === 'starting' || this.#phase === 'serving') {
      this.#phase = 'stopping';
      let timer: NodeJS.Timeout | undefined;
      inTime = await new Promise<boolean>((resolve) => {
        this.#stopped = () => resolve(true);
        timer = setTimeout(() => resolve(false), milliseconds);
        Atomics.store(this.#beat, BEAT.ending, 1);
        worker.postMessage({ kind: 'stop', away } satisfies ToWorker);
        native.signal(this.wakeFd);
      });
      clearTimeout(timer);
    }
    this.#phase = 'stopped';
    const ended = worker.terminate();
    native.signal(this.wakeFd);
    await Promise.race([ended, new Promise((resolve) => setTimeout(resolve, 200).unref())]);
    return inTime;
  }

  #spawn(): void {
    const options = this.#options;
    const beat = new SharedArrayBuffer(BEAT.cells * 4);
    this.#beat = new Int32Array(beat);
    this.#phase = 'starting';
    this.#startedAt = performance.now();
    this.#stills = 0;
    this.#rounds = 0;
    this.#reason = '';
    native.drain(this.wakeFd);
    const workerData: WorkerStart = {
      plan: options.plan,
      worker: options.worker,
      handoff: options.handoff(),
      counters: options.counters,
      beat,
      wakeFd: this.wakeFd,
      state: options.state(),
    };
    let worker: Worker;
    try {
      worker = new Worker(options.url, { workerData, name: `turn-${options.worker}` });
    } catch (error) {
      // No thread is to be had now.
      if (!this.#everReady) throw error;
      this.#gone(`no thread could be started: ${(error as Error).message}`);
      return;
    }
    this.#worker = worker;
    worker.on('message', (message: FromWorker) => {
      if (this.#worker === worker) this.#take(message);
    });
    worker.on('error', (error: Error) => {
      this.#reason ||= `it threw: ${error?.stack ?? error}`;
    });
    worker.on('messageerror', () => {
      this.#reason ||= 'it sent a message that could not be read';
      this.#end();
    });
    worker.on('exit', (code) => {
      if (this.#worker === worker) this.#gone(`it ended with code ${code}`);
    });
  }

  #take(message: FromWorker): void {
    if (message.kind === 'stopped') {
      this.#stopped?.();
      if (this.#phase === 'stopping') return;
      this.#phase = 'stopped';
      this.#options.onEnd();
      return;
    }
    if (this.#phase === 'lost') return;
    if (message.kind === 'ready') {
      // It was being started when all was told to end: too late.
      if (this.#phase !== 'starting') return;
      this.#phase = 'serving';
      this.#everReady = true;
      this.#stills = 0;
    } else if (message.kind === 'failed') {
      this.#reason ||= message.message;
      if (this.#phase === 'starting') this.#end();
      return;
    }
    this.#options.onMessage(message);
  }

  /** The pulse. Counts looks, not time: after a suspend of the whole machine only one look has passed. */
  #look(): void {
    if (this.#phase === 'starting') {
      this.#stills += 1;
      const deadline = this.#options.startDeadlineMs ?? START_DEADLINE_MS;
      if (this.#stills * LOOK_MS > deadline) {
        this.#reason ||= `it was not ready within ${deadline / 1000} seconds`;
        this.#end();
      }
      return;
    }
    if (this.#phase !== 'serving') return;
    this.#crowd.look(this.#beat, performance.now());
    const rounds = Atomics.load(this.#beat, BEAT.rounds);
    const waiting = Atomics.load(this.#beat, BEAT.waiting) !== 0;
    if (waiting || rounds !== this.#rounds) {
      this.#rounds = rounds;
      this.#stills = 0;
      return;
    }
    this.#stills += 1;
    if (this.#stills < LOOKS) return;
    this.#reason ||= `its loop stood still for ${(LOOK_MS * LOOKS) / 1000} seconds`;
    this.#end();
  }

  /** Ends a worker that can't be trusted any more; 'exit' does the rest. */
  #end(): void {
    const worker = this.#worker;
    if (!worker || this.#phase === 'lost') return;
    this.#phase = 'lost';
    void worker.terminate();
    // It may sit in its native wait, which only a descriptor ends.
    native.signal(this.wakeFd);
    setTimeout(() => {
      if (this.#worker !== worker || this.#phase !== 'lost') return;
      this.#stuck = true;
      if (this.#everReady) this.#options.onStuck(this.#reason);
      else this.#options.onFatal(`stuck inside a system call (${this.#reason})`);
    }, END_DEADLINE_MS).unref();
  }

  /** It has ended; `how`: unless more is known. */
  #gone(how: string): void {
    this.#worker = null;
    this.#stuck = false;
    if (this.#phase === 'stopping' || this.#phase === 'stopped') {
      this.#stopped?.();
      return;
    }
    const reason = this.#reason || how;
    if (!this.#everReady) {
      this.#phase = 'lost';
      this.#options.onFatal(reason);
      return;
    }
    const served = performance.now() - this.#startedAt;
    this.#pause = served > GOOD_MS ? FIRST_PAUSE_MS : this.#pause;
    const pause = this.#pause;
    this.#pause = Math.min(2 * pause, LONGEST_PAUSE_MS);
    this.#phase = 'lost';
    // First: whatever hears of it may fail.
    this.#restart = setTimeout(() => this.#spawn(), pause);
    this.#options.onLost(reason, pause);
  }
}
