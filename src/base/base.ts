/**
 * The base, put together: networks, ports, adapters, base storage, router, turn, and the control side of it. Everything here belongs
 * to the turn worker's thread; nothing is shared with another but the counters and, where there are several workers, the rings between
 * them. Each of those knows the whole plan, and owns some of the VMs; worker 0 also owns the adapters and answers control requests.
 */
import { Counters } from '../counters.ts';
import { Handoff, ADAPTERS_WORKER } from '../handoff/handoff.ts';
import type { Native } from '../native.ts';
import { BACKLOG_BYTES } from '../port/backlog.ts';
import { Port } from '../port/port.ts';
import { Network } from '../routing/network.ts';
import { Router } from '../routing/router.ts';
import { BaseStorage } from '../storage/base-storage.ts';
import { CopyList } from '../storage/copy-list.ts';
import { Outbox } from '../storage/outbox.ts';
import { Turn } from '../turn.ts';
import { Tracer } from '../turn/trace.ts';
import { REQUESTS_SHARE, SharedTime, SIGNALS_SHARE } from '../vhost-user/allowance.ts';
import { Chain } from '../virtio/chain.ts';
import { PackedChain } from '../virtio/packed-chain.ts';
import { Watcher } from '../watcher.ts';
import { keyOf } from '../wire/ipv4-address.ts';
import { isGroup, isZero, parseMac } from '../wire/mac.ts';
import { AdapterControl } from './adapter-control.ts';
import { Announcements } from './announcements.ts';
import { Deadline } from './deadline.ts';
import type { FromWorker, ToWorker } from './messages.ts';
import type { HandoffStart } from '../handoff/layout.ts';
import type { BasePlan } from '../plan.ts';
import { PortControl, type SignalCost } from './port-control.ts';
import { Reminders } from './reminders.ts';
import { restore, snapshot, type WarmState } from './warm-state.ts';

/** What one turn can hold. More than a processor's caches: full turns are rare, and a large datagram must always fit. */
const TURN_BYTES = 8 << 20;
const SLOTS = 8192;
const ROWS = 32_768;
/** Per port and turn, all its rings together: no VM fills a turn alone. */
const BYTES_PER_PORT = 512 << 10;
const DESCRIPTORS_PER_DATAGRAM = 2;

/** Milliseconds between two runs of the timers, at most. */
const TIMER_INTERVAL = 1000;
/** The same while a lease runs: of a standstill, what lies before the next run was due is not seen. */
const LEASED_INTERVAL = 250;
/** Milliseconds that timers are late when the worker had no processor, or was stopped. */
const STOOD_STILL = 250;
/** Milliseconds between two looks at what is worth keeping. */
const STATE_INTERVAL = 2000;

export class Base {
  readonly watcher: Watcher;
  readonly turn: Turn;
  /** When `tick` is to be called next. */
  readonly deadline = new Deadline();
  /** Of the VMs that this worker owns. */
  readonly portControls: PortControl[];
  /** Null when there is only one worker. */
  readonly handoff: Handoff | null;
  private readonly worker: number;
  private readonly native: Native;
  private readonly post: (message: FromWorker) => void;
  private readonly clock: () => number;
  private readonly networks: Network[];
  private readonly ports: Port[];
  private readonly adapterControl: AdapterControl;
  private readonly copies: CopyList;
  private readonly tracer: Tracer;
  private readonly reminders: Reminders;
  private readonly announcements: Announcements;
  /** What signals of the last turn have cost, where that was much. */
  private readonly costs: SignalCost[] = [];
  private damagedSeen = 0;
  private refusedSeen = 0;
  private faultsSeen: number;
  private stateAt = 0;
  /** When timers are to run at the latest. */
  private tickAt = Number.POSITIVE_INFINITY;
  private remembered = '';

  constructor(
    native: Native,
    plan: BasePlan,
    counters: SharedArrayBuffer,
    post: (message: FromWorker) => void,
    clock: () => number,
    worker = ADAPTERS_WORKER,
    others: HandoffStart | null = null,
  ) {
    this.worker = worker;
    this.native = native;
    this.post = post;
    this.clock = clock;
    this.watcher = new Watcher(native);
    const records = new Counters(plan.vms.length + plan.adapters.length, counters);
    const outbox = new Outbox(records);
    const time = new Float64Array(1);
    this.faultsSeen = native.faults[0];

    const scratchAt = TURN_BYTES;
    const backlogsAt = scratchAt + Chain.scratchBytes;
    // Room for a backlog for each of our own VMs: what is for another worker's never waits here.
    let backlogs = 0;
    const places = plan.vms.map((vm) => (vm.worker === worker ? backlogs++ : -1));
    const { arena, rows } = native.createArena(backlogsAt + backlogs * BACKLOG_BYTES, ROWS);
    const storage = new BaseStorage(arena, TURN_BYTES, SLOTS);
    this.copies = new CopyList(native, rows);
    const chain = new Chain(this.copies, arena, scratchAt);

    this.networks = plan.networks.map((network) => new Network(network));
    this.announcements = new Announcements(
      plan.vms.length,
      (time) => this.deadline.by(time),
      (vm) => this.announceNow(this.ports[vm]),
    );
    this.reminders = new Reminders(outbox, this.networks, (time) => this.deadline.by(time));
    this.ports = plan.vms.map((vm, number) => {
      const address = vm.addresses.length > 0 ? keyOf(vm.addresses[0]) : 0;
      const port = new Port(number, vm, address, vm.worker !== worker);
      if (vm.mac !== null) port.setMac(parseMac(vm.mac), 0);
      if (port.remote) port.beRemote(native);
      this.networks[vm.network].enter(port);
      return port;
    });
    this.adapterControl = new AdapterControl({
      native,
      watcher: this.watcher,
      plan,
      counters: records,
      storage,
      copies: this.copies,
      outbox,
      networks: this.networks,
      ports: this.ports,
      hasAdapters: this.hasAdapters,
      post,
      now: clock,
      time,
      due: (at) => this.deadline.by(at),
      mtuTo: (port) => router.mtuTo(port, this.networks[port.network]),
      unreached: (from, packet) => this.turn.unreached(from, packet),
    });
    const { adapters } = this.adapterControl;

    const router = new Router({
      time,
      storage,
      ports: this.ports,
      adapters,
      networks: this.networks,
      counters: records,
      outbox,
      adaptersElsewhere: !this.hasAdapters,
      admitsControl: (port) => this.adapterControl.service.admits(port.number, time),
      control: (port, source, udpPort, payload) => {
        const now = clock();
        this.noticeStandstill(now);
        this.adapterControl.service.receive(port.number, { key: source, udpPort }, payload);
        this.deadline.by(now);
      },
    });
    this.handoff =
      others === null
        ? null
        : new Handoff(native, others, plan, worker, storage, this.copies, records, time);
    if (this.handoff !== null) router.expect(this.handoff.columns);
    this.tracer = new Tracer(storage, this.copies, this.ports, adapters, (id, datagrams) =>
      post({ kind: 'traced', id, datagrams }),
    );
    const controls = new Map<Port, PortControl>();
    this.turn = new Turn({
      time,
      native,
      storage,
      copies: this.copies,
      chain,
      packedChain: new PackedChain(),
      cells: records.cells,
      ports: this.ports,
      adapters,
      networks: this.networks,
      router,
      outbox,
      tracer: this.tracer,
      handoff: this.handoff,
      budget: {
        datagrams: plan.datapath.burst,
        descriptors: plan.datapath.burst * DESCRIPTORS_PER_DATAGRAM,
        bytes: BYTES_PER_PORT,
        shift: 1, // half of a ring
      },
      backlogStart: (port) => backlogsAt + places[port] * BACKLOG_BYTES,
      ringBroke: (port, ring) => controls.get(port)?.ringBroke(ring),
      signalCosts: (ring, milliseconds) => this.costs.push({ ring, milliseconds }),
    });
    const requestTime = new SharedTime(REQUESTS_SHARE);
    const signalTime = new SharedTime(SIGNALS_SHARE);
    for (const port of this.ports) {
      if (port.remote) continue;
      const control = new PortControl({
        native,
        watcher: this.watcher,
        port,
        network: this.networks[port.network],
        counters: records,
        turn: this.turn,
        requestTime,
        signalTime,
        post,
        now: clock,
        due: (time) => this.deadline.by(time),
        announce: (mac) => this.announce(port, mac),
        remind: (wanted) => {
          if (wanted) this.reminders.begin(port, clock());
          else this.reminders.end(port);
        },
      });
      controls.set(port, control);
    }
    this.portControls = [...controls.values()];
  }

  /**
   * Opens all sockets, unless `ending` says meanwhile that the base is to end. Throws with a sentence for people when one can't be made;
   * what was made until then `close` takes away.
   */
  open(ending = () => false): void {
    for (const control of this.portControls) {
      if (ending()) return;
      control.open();
    }
    this.adapterControl.tellAll();
  }

  /** This worker owns what there is only one of. */
  private get hasAdapters(): boolean {
    return this.worker === ADAPTERS_WORKER;
  }

  /** Takes up what a base before this one left. */
  restore(state: unknown): void {
    const ports = this.ports.filter(({ remote }) => !remote);
    const { adapters, service } = this.adapterControl;
    if (this.hasAdapters) restore(state, ports, adapters, service);
    else restore(state, ports, [], null);
  }

  /** Tells the main thread what to keep, if that changed. */
  tellState(): void {
    const state = this.snapshot();
    // A lease runs down all the time: only who holds it is news.
    const text = JSON.stringify(state, (key, value) => (key === 'secondsLeft' ? undefined : value));
    if (text === this.remembered) return;
    this.remembered = text;
    this.post({ kind: 'state', state });
  }

  private snapshot(): WarmState {
    return snapshot(this.ports, this.adapterControl.adapters, this.adapterControl.service);
  }

  /** Timers; returns the milliseconds until it should be called again. */
  tick(now: number): number {
    this.noticeStandstill(now);
    const next = this.runTimers(now);
    this.tickAt = now + next;
    return next;
  }

  /** Who could not be heard meanwhile has not been silent. Before requests are served, too: a turn comes before the timers. */
  private noticeStandstill(now: number): void {
    if (now - this.tickAt <= STOOD_STILL) return;
    this.adapterControl.service.stoodStill(now - this.tickAt);
    this.tickAt = now;
  }

  private runTimers(now: number): number {
    let next = this.adapterControl.service.leased ? LEASED_INTERVAL : TIMER_INTERVAL;
    if (now >= this.stateAt) {
      this.stateAt = now + STATE_INTERVAL;
      this.tellState();
    }
    for (const control of this.portControls) next = Math.min(next, control.tick(now));
    next = Math.min(next, this.reminders.tick(now) - now, this.announcements.tick(now) - now);
    this.tellDamage();
    this.tellRefusals();
    return Math.max(0, Math.min(next, this.adapterControl.tick(now)));
  }

  /** Closes every port whose shared memory was truncated under us, or whose signals cost too much. Called in every round: two loads. */
  checkFaults(): void {
    if (this.costs.length > 0) this.payForSignals();
    const faults = this.native.faults[0];
    if (faults === this.faultsSeen) return;
    this.faultsSeen = faults;
    for (const region of this.native.takeFaultedRegions()) {
      for (const control of this.portControls) control.memoryFault(region);
    }
  }

  private payForSignals(): void {
    const costs = this.costs.splice(0);
    for (const control of this.portControls) control.payForSignals(costs);
  }

  /** Before each wait that may be long (not before a rest). False when something has come already. */
  fallAsleep(): boolean {
    return this.adapterControl.fallAsleep();
  }

  /** A message of the main thread, between two turns. */
  receive(message: ToWorker): void {
    this.deadline.by(this.clock());
    switch (message.kind) {
      case 'adapterOpened':
        this.adapterControl.opened(message);
        break;
      case 'announce':
        this.announce(this.ports[message.vm], null);
        break;
      case 'adapterRefused':
        this.adapterControl.refused(message.adapter, message.reason);
        break;
      case 'trace':
        this.tracer.want(message.id, message.vm, message.count);
        break;
      case 'traceEnd':
        this.tracer.end(message.id);
        break;
      case 'show':
        for (const control of this.portControls) control.showNow();
        this.adapterControl.tellAll();
        this.post({ kind: 'shown', id: message.id });
        break;
      case 'stop':
        break;
    }
  }

  /** Ends it: connections closed, socket files removed, adapters closed. All rings are published already. */
  close(): void {
    for (const control of this.portControls) control.close();
    this.adapterControl.close();
    this.handoff?.close();
    this.watcher.close();
  }

  /** A VM appeared or moved: the LAN learns that its addresses are here. */
  private announce(port: Port, mac: Uint8Array | null): void {
    // Only where to send to: what the VM sends from is learned from its own frames.
    if (mac !== null && !port.macKnown && !isGroup(mac) && !isZero(mac)) port.hintMac(mac, 0);
    if (this.networks[port.network].adapter !== null)
      this.announcements.wish(port.number, this.clock());
  }

  private announceNow(port: Port): void {
    if (this.hasAdapters) this.adapterControl.announce(port);
    else this.post({ kind: 'announce', vm: port.number });
  }

  /** Once for all that another worker left in a ring and that could not be true: a fault of ours. */
  private tellDamage(): void {
    const damaged = this.handoff?.damaged ?? 0;
    if (damaged === this.damagedSeen) return;
    this.damagedSeen = damaged;
    this.logFault('entries of a ring between turn workers were impossible and left out', {
      damaged,
    });
  }

  /** Copies that the addon refused: what should have been copied is not what was delivered. A fault of ours, too. */
  private tellRefusals(): void {
    const { refused } = this.copies;
    if (refused === this.refusedSeen) return;
    this.refusedSeen = refused;
    this.logFault('the addon refused copies that could not be right', { refused });
  }

  /** A fault of ours. */
  private logFault(message: string, fields: Record<string, unknown>): void {
    this.post({ kind: 'log', level: 'error', message, fields });
  }
}
