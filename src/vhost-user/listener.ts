/**
 * The way front-ends come to a port: a socket file that we listen on (server), one that QEMU listens on (client), or
 * an inherited descriptor. One front-end at a time; a second is closed at once and counted.
 */
import { getSystemErrorName } from 'node:util';
import { EPOLLIN, type Watcher } from '../watcher.ts';
import type { SocketPlan } from '../plan.ts';
import { EINVAL } from '../errno.ts';
import type { Native } from '../native.ts';
import { TokenBuckets } from '../token-buckets.ts';
import { closesTooMany } from './session.ts';
import {
  giveAway,
  makeSocketFolder,
  prepareSocketPath,
  rememberSocketFile,
  removeSocketFile,
  type SocketFile,
} from '../socket-file.ts';

export interface ListenerHost {
  /** Number of the VM. */
  readonly vm: number;
  /** A front-end is connected on `fd`, which the host owns now. Throws when it can't be served: then `fd` is still the listener's. */
  connected(listener: Listener, fd: number): void;
  /** A connection was refused, and is closed. */
  refused(reason: string): void;
  /**
   * Looks at the listener's front-end: it may have gone. `looked`; `later`: there is no time for it before the next turn; `waits`: its VM has used up
   * its time for requests.
   */
  lookAt(listener: Listener): 'looked' | 'later' | 'waits';
  log(level: 'debug' | 'info' | 'warn', message: string): void;
  now(): number;
  /** A timer was set to that time: `Listener.tick` is to be called by then. */
  due(time: number): void;
}

/**
 * Connections that are refused at once, and so many a second. QEMU tries again without a pause: beyond them whoever comes waits to be
 * accepted.
 */
const REFUSALS = { perSecond: 16, burst: 64 };
const BACKLOG = 16;
const ACCEPTS_PER_ROUND = 32;
const FIRST_RETRY = 100; // milliseconds between attempts to connect (client), doubling up to:
const LAST_RETRY = 1000;
/** Where it is us who listens there: each attempt is a connection to another VM's socket, if a short one. */
const OURS_RETRY = 30_000;
/** What unixAccept gives instead of EAGAIN. */
const NONE_WAITS = -1;

/** Both ends of a connection are this daemon's. */
class OursError extends Error {
  override name = 'OursError';
}

export class Listener {
  readonly plan: SocketPlan;
  private readonly native: Native;
  private readonly watcher: Watcher;
  private readonly host: ListenerHost;
  /** Listening descriptor; -1: none. */
  private fd = -1;
  private file: SocketFile | null = null;
  private busy = false;
  private retryAt = 0;
  /** When to watch the listening socket again, after accepting failed. */
  private listenAgainAt = Number.POSITIVE_INFINITY;
  private retry = FIRST_RETRY;
  private complained = '';
  private readonly refusals = new TokenBuckets(1, REFUSALS.perSecond, REFUSALS.burst);

  constructor(native: Native, watcher: Watcher, host: ListenerHost, plan: SocketPlan) {
    this.native = native;
    this.watcher = watcher;
    this.host = host;
    this.plan = plan;
  }

  /** Begins: listens, or tries to connect. Throws with a sentence for people when the socket can't be made. */
  open(): void {
    const { plan, native } = this;
    if (plan.fd >= 0) {
      native.setNonBlocking(plan.fd);
      const first = native.unixAccept(plan.fd);
      if (first === EINVAL) {
        // Not listening: the inherited descriptor is the connection itself.
        this.host.connected(this, plan.fd);
        this.busy = true;
        return;
      }
      this.fd = plan.fd;
      this.watcher.watch(this.fd, EPOLLIN, false, () => this.accept());
      if (first >= 0) this.take(first);
      return;
    }
    if (plan.mode === 'client') {
      this.tick(this.host.now());
      return;
    }
    makeSocketFolder(plan.path);
    prepareSocketPath(plan.path);
    this.fd = native.unixListen(plan.path, plan.fileMode, BACKLOG);
    this.file = rememberSocketFile(plan.path);
    if (plan.uid >= 0 || plan.gid >= 0) {
      giveAway(plan.path, plan.uid, plan.gid);
      // Where a file system knows no time of birth, Node gives the last change's.
      this.file = rememberSocketFile(plan.path);
    }
    this.watcher.watch(this.fd, EPOLLIN, false, () => this.accept());
  }

  /** The front-end is gone: the next one may come. */
  released(): void {
    this.busy = false;
    this.retryAt = this.host.now() + FIRST_RETRY;
    this.retry = FIRST_RETRY;
    // Whoever waits to be accepted may come now.
    if (this.listenAgainAt === Number.POSITIVE_INFINITY) return;
    this.listenAgainAt = this.host.now();
    this.host.due(this.listenAgainAt);
  }

  /** Client mode: tries to connect when it is time. Server mode: listens again after a failure. */
  tick(now: number): void {
    if (now >= this.listenAgainAt) {
      this.listenAgainAt = Number.POSITIVE_INFINITY;
      if (this.fd >= 0) this.listenAgain(now);
    }
    if (this.plan.mode !== 'client' || this.plan.fd >= 0 || this.busy || now < this.retryAt) return;
    if (this.mustWait) return;
    try {
      this.take(this.connect());
      this.complained = '';
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      this.retry = Math.min(this.retry * 2, LAST_RETRY);
      this.retryAt = now + (error instanceof OursError ? OURS_RETRY : this.retry);
      const reason = `can't connect to ${this.plan.path}: ${code ?? (error as Error).message}; trying on`;
      if (reason !== this.complained)
        this.host.log(code === 'ENOENT' || code === 'ECONNREFUSED' ? 'debug' : 'warn', reason);
      this.complained = reason;
    }
  }

  private listenAgain(now: number): void {
    try {
      this.watcher.watch(this.fd, EPOLLIN, false, () => this.accept());
    } catch {
      // No memory, or all watches that a user may have are taken: later.
      this.listenAgainAt = now + LAST_RETRY;
    }
  }

  private accept(): void {
    for (let count = 0; count < ACCEPTS_PER_ROUND; count++) {
      if (this.mustWait) {
        this.pauseListening();
        return;
      }
      // Who is there may have gone, which we may be told of only behind this. While there is no time to look, who comes waits in the backlog.
      const looked = this.busy ? this.host.lookAt(this) : 'looked';
      if (looked === 'waits') this.pauseListening();
      if (looked !== 'looked') return;
      const fd = this.native.unixAccept(this.fd);
      if (fd < 0) {
        if (fd === NONE_WAITS) return;
        this.host.refused(`a connection could not be accepted: ${getSystemErrorName(fd)}`);
        // Out of descriptors, most likely: whoever waits would wake us for ever.
        this.pauseListening();
        return;
      }
      if (this.take(fd)) continue;
      if (this.refusals.take(0, this.host.now())) continue;
      this.pauseListening();
      return;
    }
  }

  /** What front-ends passed before is still being closed: who comes now would only make it more. */
  private get mustWait(): boolean {
    return closesTooMany(this.native, this.host.vm);
  }

  /** Client mode. Whoever may put a link at the path must not come to another VM's socket in our name, and keep its front-end out. */
  private connect(): number {
    const fd = this.native.unixConnect(this.plan.path);
    if (this.native.peerCredentials(fd).pid !== process.pid) return fd;
    this.native.closeConnection(fd, this.host.vm);
    throw new OursError('it leads to a socket of this daemon');
  }

  /** Looks again later. */
  private pauseListening(): void {
    this.watcher.unwatch(this.fd);
    this.listenAgainAt = this.host.now() + LAST_RETRY;
  }

  /** Takes a connection, or refuses it: false. */
  private take(fd: number): boolean {
    const { uid, pid } = this.native.peerCredentials(fd);
    if (this.busy) {
      this.native.closeConnection(fd, this.host.vm);
      this.host.refused(`process ${pid} of user ${uid} is a second front-end while one is there`);
      return false;
    }
    const { allowUids } = this.plan;
    if (allowUids !== null && uid !== 0 && uid !== process.getuid!() && !allowUids.includes(uid)) {
      this.native.closeConnection(fd, this.host.vm);
      this.host.refused(`process ${pid} of user ${uid} is not allowed to connect`);
      return false;
    }
    try {
      this.host.connected(this, fd);
      this.busy = true;
      return true;
    } catch (error) {
      this.native.closeConnection(fd, this.host.vm);
      this.host.refused(`a connection could not be served: ${(error as Error).message}`);
      return false;
    }
  }

  /** Stops listening and removes its own socket file; the connection that it brought is the host's. */
  close(): void {
    if (this.fd >= 0) {
      this.watcher.unwatch(this.fd);
      this.native.closeDescriptor(this.fd);
      this.fd = -1;
    }
    if (this.file !== null) removeSocketFile(this.file);
    this.file = null;
  }
}
