/**
 * The daemon's main thread: starts the admin interface and the turn workers, opens adapters for them, logs for them, and ends them.
 * It touches no datagram.
 */
import { setTimeout } from 'node:timers/promises';
import type { PacketSockets } from './adapter/packet-sockets.ts';
import { AdminServer } from './admin/server.ts';
import { Refresh } from './admin/refresh.ts';
import { Traces } from './admin/traces.ts';
import { BaseState } from './base-state.ts';
import type { FromWorker } from './base/messages.ts';
import type { HandoffStart } from './handoff/layout.ts';
import type { BasePlan } from './plan.ts';
import { merge, type WarmState } from './base/warm-state.ts';
import { CommandError, EXIT } from './exit-codes.ts';
import { ADAPTERS_WORKER } from './handoff/handoff.ts';
import { handoffBytes } from './handoff/layout.ts';
import { type Log, LogLimiter } from './log.ts';
import {
  isSocketFileThere,
  makeSocketFolder,
  makeSocketFolders,
  removeSocketFile,
  rememberSocketFile,
  type SocketFile,
} from './socket-file.ts';
import { AdapterSockets } from './supervision/adapter-sockets.ts';
import { leaveCores } from './supervision/placement.ts';
import { StateFile } from './supervision/state-file.ts';
import { notifySystemd } from './supervision/notify.ts';
import { TurnWorker } from './supervision/turn-worker.ts';
import { native } from './native.ts';

/** SIGTERM to exit takes under two seconds; most of it is the workers'. */
const WORKER_STOP_MS = 1300;
const LOG_FLUSH_MS = 200;
const STUCK_MS = 5000;

/** What a VM or adapter lacks whose turn worker is stuck. */
const STUCK = 'its turn worker is stuck inside a system call';

export interface DaemonOptions {
  plan: BasePlan;
  log: Log;
  admin: {
    /** null: no admin interface. */
    socket: string | null;
    /** Whether a socket that can't be made ends the start. */
    required: boolean;
  };
  /** File of the warm state; null: it lives as long as this process. */
  stateFile: string | null;
  /** Packet sockets kept per adapter (see supervision/privileges.ts); the daemon's from here on. */
  packetSockets?: readonly PacketSockets[];
  /** One-port mode: end when the front-end ends. */
  exitWithFrontend: boolean;
  /** Another worker than the built one, for tests. */
  workerUrl?: URL;
}

export class Daemon {
  readonly state: BaseState;
  readonly #options: DaemonOptions;
  readonly #log: Log;
  readonly #limiter = new LogLimiter();
  /** By number: worker 0 owns the adapters. */
  readonly #workers: TurnWorker[];
  readonly #handoff: HandoffStart | null;
  readonly #adapterSockets: AdapterSockets;
  readonly #admin: AdminServer;
  readonly #traces: Traces;
  readonly #refresh: Refresh;
  readonly #stateFile: StateFile | null;
  /** What the workers want kept; a new worker, of this process or the next, begins with it. */
  #warmState: unknown = null;
  #finish: (outcome: number | CommandError) => void = () => {};
  readonly #finished: Promise<number | CommandError>;
  #stopping = false;
  /** Of VMs by path, as they were when all workers served last. */
  #socketFiles = new Map<string, SocketFile>();

  constructor(options: DaemonOptions) {
    this.#options = options;
    this.#log = options.log;
    this.state = new BaseState(options.plan);
    this.state.logDropped = () => this.#log.dropped;
    this.state.socketGone = (path) => this.#isSocketGone(path);
    this.#finished = new Promise((resolve) => {
      this.#finish = resolve;
    });
    this.#stateFile =
      options.stateFile === null
        ? null
        : new StateFile(options.stateFile, (message) => this.#log.logger.warn(message));
    this.#warmState = this.#stateFile?.read() ?? null;
    this.#traces = new Traces((vm, message) =>
      this.#workers[options.plan.vms[vm]!.worker]!.send(message),
    );
    this.#refresh = new Refresh(
      (message) => this.#workers.filter((worker) => worker.send(message)).length,
    );
    this.#admin = new AdminServer(this.state, this.#traces, this.#refresh, (error) => {
      this.#log.logger.warn({ error: error.message }, 'admin interface');
    });
    const { plan } = options;
    this.#workers = this.state.counters.blocks.map(
      ({ buffer }, worker) =>
        new TurnWorker({
          url: options.workerUrl ?? new URL('./base/worker.js', import.meta.url),
          plan,
          worker,
          counters: buffer,
          handoff: () => this.#handoff,
          state: () => this.#warmState,
          onMessage: (message) => this.#take(message, worker),
          onLost: (reason, pauseMs) => this.#lost(worker, reason, pauseMs),
          onFatal: (reason) => this.#fatal(worker, reason),
          onStuck: (reason) => this.#stuck(worker, reason),
          onEnd: () => this.#finish(EXIT.ok),
        }),
    );
    this.#adapterSockets = new AdapterSockets(
      plan.adapters,
      options.packetSockets ?? [],
      (message) => this.#workers[ADAPTERS_WORKER]!.send(message),
      (adapter, message) => this.#log.logger.warn({ adapter }, message),
    );
    const { workers } = plan.datapath;
    this.#handoff =
      workers === 1
        ? null
        : {
            memory: native.memfd('basewire-handoff', handoffBytes(workers), true),
            wakeFds: this.#workers.map(({ wakeFd }) => wakeFd),
          };
  }

  /**
   * Runs until a signal, or until it can't. Resolves to the exit code; rejects with a CommandError when it could not start or go
   * on. Either way everything it made is gone again.
   */
  async run(): Promise<number> {
    const restoreSignals = this.#handleSignals();
    let outcome: number | CommandError;
    try {
      this.#makeFolders();
      await this.#startAdmin();
      for (const warning of leaveCores(this.#options.plan.datapath.cores))
        this.#log.logger.warn(warning);
      for (const worker of this.#workers) worker.start();
      outcome = await this.#finished;
    } catch (error) {
      outcome = error instanceof CommandError ? error : new CommandError((error as Error).message);
    }
    await this.#shutDown();
    restoreSignals();
    if (typeof outcome !== 'number') throw outcome;
    return outcome;
  }

  /** Ends run(), as a signal does. */
  stop(reason: string): void {
    if (this.#stopping) return;
    this.#stopping = true;
    this.#log.logger.info({ reason }, 'stopping');
    this.#finish(EXIT.ok);
    notifySystemd('STOPPING=1', () => {});
  }

  async #shutDown(): Promise<void> {
    this.#stopping = true;
    const workers = this.#workers;
    const away = [...workers.keys()].filter((number) => workers[number]!.away);
    const inTime = await Promise.all(workers.map((worker) => worker.stop(WORKER_STOP_MS, away)));
    this.state.ready = false;
    if (inTime.includes(false)) this.#log.logger.warn('a turn worker did not stop in time');
    // The workers remove their socket files; here goes what is left when one could not.
    for (const file of this.#socketFiles.values()) removeSocketFile(file);
    this.#admin.close();
    this.#stateFile?.close();
    if (workers.some(({ stuck }) => stuck))
      this.#log.logger.warn('a turn worker is stuck inside a system call: this process is killed');
    this.#log.logger.info('stopped');
    await this.#log.close(LOG_FLUSH_MS);
    await this.#endStuckThread();
  }

  /** An exit waits for all threads: one that is stuck in the kernel would keep it for ever. */
  async #endStuckThread(): Promise<void> {
    const deadline = performance.now() + STUCK_MS;
    const alive = () => this.#workers.filter((worker) => worker.alive);
    const ending = () => alive().some(({ stuck }) => !stuck);
    while (ending() && performance.now() < deadline) await setTimeout(20);
    if (alive().length > 0) process.kill(process.pid, 'SIGKILL');
  }

  #serverSockets(): SocketFile[] {
    return this.#options.plan.vms
      .flatMap((vm) => vm.sockets)
      .filter((socket) => socket.mode === 'server' && socket.fd < 0)
      .flatMap((socket) => {
        try {
          return [rememberSocketFile(socket.path)];
        } catch {
          return [];
        }
      });
  }

  /** Known while all workers serve: one that is started anew makes its sockets anew. */
  #isSocketGone(path: string): boolean {
    if (!this.state.ready) return false;
    const file = this.#socketFiles.get(path);
    return file === undefined || !isSocketFileThere(file);
  }

  #makeFolders(): void {
    const sockets = this.#options.plan.vms.flatMap((vm) => vm.sockets);
    const made = sockets.filter(({ mode, fd }) => mode === 'server' && fd < 0);
    makeSocketFolders(made, -1, -1);
  }

  async #startAdmin(): Promise<void> {
    const { socket, required } = this.#options.admin;
    if (socket === null) return;
    try {
      makeSocketFolder(socket);
      await this.#admin.listen(socket);
    } catch (error) {
      const reason = `admin socket: ${(error as Error).message}`;
      if (required) throw new CommandError(reason);
      this.#log.logger.warn(`no admin interface: ${reason}`);
    }
  }

  #take(message: FromWorker, worker: number): void {
    switch (message.kind) {
      case 'ready':
        if (!this.#workers.every(({ phase }) => phase === 'serving')) break;
        this.#socketFiles = new Map(this.#serverSockets().map((file) => [file.path, file]));
        // It may have been told to stop meanwhile.
        if (this.#stopping) break;
        this.state.ready = true;
        this.#log.ready({
          networks: this.#options.plan.networks.length,
          vms: this.#options.plan.vms.length,
          adapters: this.#options.plan.adapters.length,
        });
        notifySystemd('READY=1', (reason) =>
          this.#log.logger.warn({ reason }, 'systemd was not notified'),
        );
        break;
      case 'log':
        this.#logFor(message);
        break;
      case 'vm':
        if (message.vm in this.state.vms) this.state.vms[message.vm] = message.detail;
        this.#endWithFrontend(message.vm);
        break;
      case 'adapter':
        if (message.adapter in this.state.adapters)
          this.state.adapters[message.adapter] = message.detail;
        break;
      case 'state':
        this.#warmState = merge(
          this.#warmState,
          message.state as WarmState,
          worker,
          this.#options.plan,
        );
        this.#stateFile?.write(this.#warmState);
        break;
      case 'traced':
        this.#traces.take(message.id, message.datagrams);
        break;
      case 'shown':
        this.#refresh.take(message.id);
        break;
      case 'adapterOpen':
        this.#adapterSockets.open(message.adapter);
        break;
      case 'adapterTaken':
        this.#adapterSockets.taken(message.adapter, message.taken);
        break;
      case 'announce':
        this.#workers[ADAPTERS_WORKER]!.send({ kind: 'announce', vm: message.vm });
        break;
    }
  }

  #logFor(message: Extract<FromWorker, { kind: 'log' }>): void {
    const { level, vm, adapter, message: text, fields } = message;
    // What a guest can cause is limited; errors and debugging output are not a guest's doing.
    let keptBack = 0;
    if (level !== 'debug' && (vm !== undefined || adapter !== undefined)) {
      keptBack = this.#limiter.pass(`${vm ?? ''}/${adapter ?? ''}`);
      if (keptBack < 0) return;
    }
    this.#log.logger[level](
      {
        ...(vm !== undefined && { vm }),
        ...(adapter !== undefined && { adapter }),
        ...peerFields(fields),
        ...(keptBack > 0 && { keptBack }),
      },
      text,
    );
  }

  /** In one-port mode on an inherited connection: nothing can come after its end. */
  #endWithFrontend(vm: number): void {
    if (!this.#options.exitWithFrontend || this.state.counters.get(vm, 'disconnects') === 0) return;
    this.stop('the front-end ended');
  }

  #lost(worker: number, reason: string, pauseMs: number): void {
    if (this.#options.exitWithFrontend) {
      this.#finish(new CommandError(`a turn worker failed: ${reason}`.split('\n')));
      return;
    }
    this.state.workerLost(worker);
    this.#traces.end((vm) => this.#options.plan.vms[vm]!.worker === worker);
    if (worker === ADAPTERS_WORKER) this.#adapterSockets.workerLost();
    this.state.workerRestarts += 1;
    this.#log.logger.error(
      { worker, reason, pauseMs, restarts: this.state.workerRestarts },
      'a turn worker failed and is started anew',
    );
  }

  /**
   * A turn worker can't be ended. Its VMs' connections stay open, and nobody serves them. What it has of adapters is left alone: asking the
   * kernel about its packet sockets could wait for the very call it is in.
   */
  #stuck(worker: number, reason: string): void {
    if (this.#workers.every(({ stuck }) => stuck)) {
      this.#fatal(worker, `stuck inside a system call (${reason})`);
      return;
    }
    this.state.workerLost(worker, STUCK);
    this.#traces.end((vm) => this.#options.plan.vms[vm]!.worker === worker);
    this.#log.logger.error(
      { worker, reason },
      'a turn worker is stuck inside a system call: its VMs wait until that returns, the other workers go on',
    );
  }

  /** Ends run(). A fault of ours brings its stack along. */
  #fatal(worker: number, reason: string): void {
    // Said now where a thread is stuck: this process is killed before anybody hears of it from run().
    if (this.#workers[worker]!.stuck)
      this.#log.logger.fatal({ worker, reason }, 'a turn worker failed');
    this.#finish(new CommandError(reason.split('\n')));
  }

  /** Signals and stray errors; returns what undoes it. */
  #handleSignals(): () => void {
    const end = (signal: NodeJS.Signals) => this.stop(signal);
    const hangUp = () => {
      this.#log.logger.warn(
        'SIGHUP ignored: the configuration is read at the start only, restart to apply a new one',
      );
    };
    // Left to Node, SIGUSR1 opens a debugger's port to all users of this host; left to the system, SIGUSR2 ends us without a farewell.
    const unused = (signal: NodeJS.Signals) => {
      this.#log.logger.warn(`${signal} ignored: it has no meaning here`);
    };
    const stray = (error: unknown) => {
      this.#log.logger.error(
        { error: (error as Error)?.stack ?? String(error) },
        'unexpected error in the main thread',
      );
    };
    process.on('SIGTERM', end).on('SIGINT', end).on('SIGHUP', hangUp);
    process.on('SIGUSR1', unused).on('SIGUSR2', unused);
    process.on('uncaughtException', stray).on('unhandledRejection', stray);
    return () => {
      process.off('SIGTERM', end).off('SIGINT', end).off('SIGHUP', hangUp);
      process.off('SIGUSR1', unused).off('SIGUSR2', unused);
      process.off('uncaughtException', stray).off('unhandledRejection', stray);
    };
  }
}

/** A front-end's pid and uid under names of their own: `pid` in a log line is ours. */
function peerFields(fields: Record<string, unknown> = {}): Record<string, unknown> {
  const { pid, uid, ...others } = fields;
  return {
    ...others,
    ...(pid !== undefined && { peerPid: pid }),
    ...(uid !== undefined && { peerUid: uid }),
  };
}
