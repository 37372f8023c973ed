/**
 * The control side of one port: its listeners and sessions, between turns. Tells the turn what changed, the main thread what
 * to show, and lets nothing of a connection outlive it.
 */
import type { Counters } from '../counters.ts';
import type { Native } from '../native.ts';
import type { Attachment } from '../port/attachment.ts';
import type { Ring } from '../port/ring.ts';
import type { Port } from '../port/port.ts';
import { TokenBuckets } from '../token-buckets.ts';
import type { Network } from '../routing/network.ts';
import type { Turn } from '../turn.ts';
import { signalAndMeasure } from '../turn/notifications.ts';
import { Allowance, type SharedTime } from '../vhost-user/allowance.ts';
import { Listener, type ListenerHost } from '../vhost-user/listener.ts';
import { LEFT, Session, type SessionEvent, type SessionHost } from '../vhost-user/session.ts';
import { featureNames, offeredFeatures } from '../virtio/features.ts';
import { LogBudget } from './log-budget.ts';
import type { FromWorker } from './messages.ts';
import type { Watcher } from '../watcher.ts';

export interface PortControlContext {
  native: Native;
  watcher: Watcher;
  port: Port;
  network: Network;
  counters: Counters;
  turn: Turn;
  requestTime: SharedTime;
  signalTime: SharedTime;
  post(message: FromWorker): void;
  now(): number;
  /** A timer was set to that time: `tick` is to be called by then. */
  due(time: number): void;
  /** Tell the LAN where the VM is; `mac` where a request named it. */
  announce(mac: Uint8Array | null): void;
  /** The VM's rings went on where they were: its guest has forgotten its neighbours. False: they do no longer. */
  remind(wanted: boolean): void;
}

/**
 * Log lines that one port's peers can cause in a minute. Who is turned away has few of its own: it must not take those of the front-end
 * that is there.
 */
const LOG_LINES = 20;
const REFUSAL_LINES = 5;
/** Milliseconds between two calls of `tick` at most while a front-end is connected. */
const TICK = 500;
/** Milliseconds between two looks at a ring whose driver has no way to notify us. */
const POLL = 1;
/** Between two looks at what waits behind a datagram that its ring may never hold (`InputBuffers.neverFits`). */
const LOOK_AGAIN = 100;
/** Between two attempts to connect, in client mode, at least. */
const CONNECT = 100;
/** Signals of a VM that it can't pay for, and may cost it nothing, so many a second: a hypervisor that stops us for long does so in a signal, too. */
const FORGIVEN = { perSecond: 0.1, burst: 3 };
/**
 * The main thread is shown a port at most so often, as a front-end may change it with each message; and seldom when that goes on: it may
 * share our core, and who asks us something must not wait while it takes notes.
 */
const TELL_INTERVAL = 20;
const TELL_SELDOM = 1000;
const TELLS = { perSecond: 1, burst: 10 };

/** Processor time that signalling a ring's driver took. */
export interface SignalCost {
  ring: Ring;
  milliseconds: number;
}

/** Milliseconds in a turn from which on a VM's signals are paid for. */
const COSTLY = 0.25;

export class PortControl implements SessionHost, ListenerHost {
  readonly port: Port;
  readonly allowance: Allowance;
  private readonly context: PortControlContext;
  private readonly listeners: Listener[];
  private readonly sessions = new Map<Session, Listener>();
  private readonly lines = new LogBudget(LOG_LINES);
  private readonly refusalLines = new LogBudget(REFUSAL_LINES);
  /** For signals that take long. Its own: who is kept waiting for its requests must not be closed for one that an interrupt made slow. */
  private readonly signalAllowance: Allowance;
  private readonly forgiven = new TokenBuckets(1, FORGIVEN.perSecond, FORGIVEN.burst);
  /** What the main thread was shown last, when it may be shown more, and whether there is more. */
  private told = '';
  private tellAfter = Number.NEGATIVE_INFINITY;
  private readonly tells = new TokenBuckets(1, TELLS.perSecond, TELLS.burst);
  private untold = false;
  private toldMac = false;
  /** The attachment through which datagrams flow, if they do. */
  private running: Attachment | null = null;

  constructor(context: PortControlContext) {
    this.context = context;
    this.port = context.port;
    this.allowance = new Allowance(context.requestTime);
    this.signalAllowance = new Allowance(context.signalTime);
    this.listeners = context.port.vm.sockets.map(
      (plan) => new Listener(context.native, context.watcher, this, plan),
    );
  }

  get vm(): number {
    return this.port.number;
  }

  open(): void {
    for (const listener of this.listeners) listener.open();
    this.tell();
  }

  /** Deadlines and attempts to connect; milliseconds until the next call. */
  tick(now: number): number {
    for (const listener of this.listeners) listener.tick(now);
    let next = Number.POSITIVE_INFINITY;
    for (const session of this.sessions.keys()) next = Math.min(next, session.tick(now));
    // The turn learns MACs, and tells nobody.
    if (this.port.macKnown !== this.toldMac) this.tell();
    if (this.untold && now >= this.tellAfter) this.show();
    this.renewLines(now);
    if (this.unnotified) {
      this.context.turn.activate(this.port);
      return POLL;
    }
    // Nobody notifies us of time.
    const { backlog } = this.port;
    if (backlog !== null && backlog.count > 1) {
      this.context.turn.activate(this.port);
      next = Math.min(next, LOOK_AGAIN);
    }
    const untilTold = this.untold ? this.tellAfter - now : Number.POSITIVE_INFINITY;
    return Math.min(next, untilTold, this.sessions.size > 0 ? TICK : this.connectsAgain);
  }

  private get connectsAgain(): number {
    const connects = this.listeners.some(({ plan }) => plan.mode === 'client');
    return connects ? CONNECT : Number.POSITIVE_INFINITY;
  }

  /**
   * A ring came without a kick (vhost-user.rst: "polling should be used instead of waiting for the kick"). An input ring, too, for which nothing waits: when
   * something begins to, nobody tells us.
   */
  private get unnotified(): boolean {
    const { current } = this.port;
    if (current === null) return false;
    const silent = ({ kickFd }: Ring) => kickFd < 0;
    return current.outputs.some(silent) || current.inputs.some(silent);
  }

  close(): void {
    for (const session of this.sessions.keys()) session.close('the base ends');
    for (const listener of this.listeners) listener.close();
    this.show();
  }

  /** A mapped file shrank: whoever shared it is closed. */
  memoryFault(region: number): void {
    for (const session of this.sessions.keys()) {
      const { attachment } = session;
      if (
        !attachment.memory.regions.some(({ handle }) => handle === region) &&
        attachment.log?.region !== region
      )
        continue;
      this.count('memoryFaults');
      session.close('the memory it shared was truncated');
    }
  }

  /** What signals of a turn took of the worker's time: ours are paid for, and who can't pay again and again is closed, since signals can't be kept waiting. */
  payForSignals(costs: readonly SignalCost[]): void {
    for (const session of this.sessions.keys()) {
      const { rings } = session.attachment;
      let milliseconds = 0;
      for (const cost of costs) if (rings.includes(cost.ring)) milliseconds += cost.milliseconds;
      if (milliseconds < COSTLY) continue;
      const now = this.context.now();
      if (this.signalAllowance.spend(now, milliseconds) === 0) continue;
      if (this.forgiven.take(0, now)) continue;
      this.count('costlySignals');
      session.close(
        `to signal its call eventfds takes too long (${milliseconds.toFixed(1)} ms the last time): they are watched far too often`,
      );
    }
  }

  // --- ListenerHost -------------------------------------------------------------------------------

  connected(listener: Listener, fd: number): void {
    const { native, watcher, network, counters, port } = this.context;
    const session = new Session(native, watcher, this, fd, offeredFeatures(network.plan.packed));
    counters.add(port.number, 'connects');
    this.sessions.set(session, listener);
    port.attach(session.attachment);
    this.log('info', 'front-end connected', { ...session.peer });
    this.tell();
    this.context.due(this.context.now() + TICK);
  }

  refused(reason: string): void {
    this.context.counters.add(this.context.port.number, 'refusedConnections');
    this.renewLines(this.context.now());
    if (this.refusalLines.take()) this.post('warn', `connection refused: ${reason}`);
  }

  lookAt(listener: Listener): 'looked' | 'later' | 'waits' {
    for (const [session, its] of this.sessions) {
      if (its !== listener) continue;
      if (session.waits) return 'waits';
      const now = this.context.now();
      if (now >= this.allowance.roundEnd(this.context.watcher.looks, now)) return 'later';
      session.look();
    }
    return 'looked';
  }

  // --- SessionHost ----------------------------------------------------------------------------------

  count(event: SessionEvent): void {
    this.context.counters.add(this.context.port.number, event);
  }

  refusedRequest(reason: string): void {
    this.log('warn', `vhost-user request refused: ${reason}`);
    // Of a VM that runs all the same it is no trouble.
    if (this.running !== null) return;
    this.port.lastError = reason;
    this.tell();
  }

  changed(session: Session): void {
    const { port, turn } = this.context;
    if (session.attachment === port.current) {
      // Its rings stopped: what waits was made for what had been negotiated, which may be something else next.
      if (!session.attachment.expects) turn.forget(port);
      turn.activate(port);
      port.lastWork = this.context.now();
    }
    this.noteRunning();
    this.forgetMac();
    this.tell();
    if (this.unnotified) this.context.due(this.context.now() + POLL);
  }

  prefer(session: Session): void {
    const { port, turn } = this.context;
    if (port.current === session.attachment) return;
    turn.forget(port);
    port.prefer(session.attachment);
  }

  kicked({ attachment }: Session): void {
    if (attachment === this.context.port.current) this.activate();
  }

  private activate(): void {
    const { port, turn } = this.context;
    port.lastWork = this.context.now();
    turn.activate(port);
  }

  announce(session: Session, mac: Uint8Array): void {
    if (session.attachment === this.context.port.current) this.context.announce(mac);
  }

  /** Tells whoever may hear it: the front-end by the err eventfd, people by log and status. */
  ringBroke(ring: Ring): void {
    const { port, counters } = this.context;
    counters.add(port.number, 'ringsBroken');
    if (ring.errFd >= 0) this.signalBroken(ring.errFd);
    for (const attachment of port.attachments) attachment.refresh();
    this.noteRunning();
    this.log('warn', `ring ${ring.index} is broken: ${ring.queue.broken}`);
    this.tell();
  }

  /** Who breaks its rings on and on pays for being told. */
  private signalBroken(fd: number): void {
    const milliseconds = signalAndMeasure(this.context.native, fd);
    this.allowance.spend(this.context.now(), milliseconds);
  }

  closed(session: Session, reason: string): void {
    const { port, turn, counters } = this.context;
    counters.add(port.number, 'disconnects');
    const listener = this.sessions.get(session);
    this.sessions.delete(session);
    const wasCurrent = port.current === session.attachment;
    port.detach(session.attachment);
    if (wasCurrent) {
      turn.forget(port);
      // The one that takes its place may have sent something meanwhile, and notified us in vain.
      if (port.current !== null) this.activate();
    }
    // Of a VM that runs all the same it is no trouble. Nor is it one that a front-end left, and why it may have done so stays to be read.
    if (port.state !== 'running' && reason !== LEFT) port.lastError = reason;
    this.noteRunning();
    this.forgetMac();
    this.log('info', `front-end disconnected: ${reason}`);
    this.tell();
    listener?.released();
    this.context.due(this.context.now() + this.connectsAgain);
  }

  /** Datagrams flow from now on: the LAN learns where the VM is, and a guest that was cut off where the others are. */
  private noteRunning(): void {
    const { port, context } = this;
    const running = port.state === 'running' ? port.current : null;
    if (running === this.running) return;
    this.running = running;
    // What went wrong before has been put right.
    if (running !== null) port.lastError = '';
    if (running !== null) context.announce(null);
    if (running !== null) this.log('info', 'running');
    else if (port.state === 'connected')
      this.log('info', `not running any more: ${port.current?.missing()}`);
    context.remind(running?.wentOn ?? false);
  }

  /** With no ring left the driver is gone, and with it a learned MAC: the next one may have another (docs/decisions/0010). */
  private forgetMac(): void {
    const { port } = this;
    if (port.vm.mac !== null || !port.macKnown) return;
    if (port.attachments.some(({ started }) => started)) return;
    port.forgetMac();
  }

  /** One line per thing that happens to the port, and no more than LOG_LINES a minute whatever its peers do. */
  log(level: 'debug' | 'info' | 'warn', message: string, fields?: Record<string, unknown>): void {
    this.renewLines(this.context.now());
    if (this.lines.take()) this.post(level, message, fields);
  }

  private renewLines(now: number): void {
    const lines = this.lines.renew(now);
    if (lines > 0) this.post('warn', `${lines} log lines of this VM were suppressed`);
    const refusals = this.refusalLines.renew(now);
    if (refusals > 0) this.post('warn', `${refusals} more connections were refused`);
  }

  private post(
    level: 'debug' | 'info' | 'warn',
    message: string,
    fields?: Record<string, unknown>,
  ): void {
    const vm = this.context.port.vm.name;
    this.context.post({ kind: 'log', level, vm, message, ...(fields && { fields }) });
  }

  now(): number {
    return this.context.now();
  }

  due(time: number): void {
    this.context.due(time);
  }

  /** The port may have changed: the main thread is shown how it stands, now or soon. */
  private tell(): void {
    if (this.untold) return;
    this.untold = true;
    if (this.context.now() >= this.tellAfter) this.show();
    else this.context.due(this.tellAfter);
  }

  /** The main thread is asked how the port stands. */
  showNow(): void {
    if (this.untold || this.port.macKnown !== this.toldMac) this.show();
  }

  /** Shows the main thread how the port stands, if that changed. */
  private show(): void {
    const { port } = this.context;
    this.untold = false;
    const now = this.context.now();
    this.tellAfter = now + (this.tells.take(0, now) ? TELL_INTERVAL : TELL_SELDOM);
    this.toldMac = port.macKnown;
    const attachment = port.current;
    let session: Session | undefined;
    for (const candidate of this.sessions.keys())
      if (candidate.attachment === attachment) session = candidate;
    const detail = {
      state: port.state,
      missing:
        attachment === null ? 'no front-end is connected to the socket' : attachment.missing(),
      frontend: session === undefined ? null : session.peer,
      features: attachment === null ? [] : featureNames(attachment.features),
      mac: port.mac,
      queuePairs: attachment === null ? 0 : attachment.inputs.length,
      memory: { regions: attachment?.memory.count ?? 0, bytes: attachment?.memory.bytes ?? 0 },
      rings: (attachment?.rings ?? []).map((ring) => ({
        index: ring.index,
        format: ring.queue.format as 'split' | 'packed',
        size: ring.size,
        started: ring.started,
        enabled: ring.enabled,
        broken: ring.queue.broken,
      })),
      lastError: port.lastError,
    };
    const text = JSON.stringify(detail);
    if (text === this.told) return;
    this.told = text;
    this.context.post({ kind: 'vm', vm: port.number, detail });
  }
}
