/**
 * The control side of the adapters, between turns: has them opened and closed as the management guests want, follows their interfaces,
 * and tells the main thread how they stand. Of several workers only their owner has something to do here; the others know them, and
 * hear of nothing.
 */
import { Adapter } from '../adapter/adapter.ts';
import { LinkWatch } from '../adapter/link-watch.ts';
import { type ControlPeer, ControlService } from '../control/service.ts';
import type { Counters } from '../counters.ts';
import type { Native } from '../native.ts';
import type { Port } from '../port/port.ts';
import { queueUdp, UDP_HEADERS, udpPacket } from '../routing/answers/udp-packet.ts';
import { CONTROL_PORT } from '../routing/elsewhere.ts';
import type { Network } from '../routing/network.ts';
import type { BaseStorage } from '../storage/base-storage.ts';
import type { CopyList } from '../storage/copy-list.ts';
import type { Outbox } from '../storage/outbox.ts';
import type { Watcher } from '../watcher.ts';
import { dotted, keyOf } from '../wire/ipv4-address.ts';
import { parseMac } from '../wire/mac.ts';
import type { FromWorker, ToWorker } from './messages.ts';
import type { BasePlan } from '../plan.ts';

export interface AdapterControlContext {
  native: Native;
  watcher: Watcher;
  plan: BasePlan;
  counters: Counters;
  storage: BaseStorage;
  copies: CopyList;
  outbox: Outbox;
  /** Each gets its adapter here. */
  networks: Network[];
  ports: Port[];
  /** The adapters are this worker's. */
  hasAdapters: boolean;
  post(message: FromWorker): void;
  now(): number;
  /** See `TurnContext.time`. */
  time: Float64Array;
  /** A timer was set to that time: `tick` is to be called by then. */
  due(time: number): void;
  /** Bytes of the longest IP datagram that the VM behind a port takes, as far as it is known to this worker. */
  mtuTo(port: Port): number;
  /** See `Turn.unreached`. */
  unreached(from: number, packet: Uint8Array): void;
}

export class AdapterControl {
  readonly adapters: Adapter[];
  readonly service: ControlService;
  private readonly context: AdapterControlContext;
  private readonly links: LinkWatch | null;

  constructor(context: AdapterControlContext) {
    this.context = context;
    const { native, watcher, plan, counters, hasAdapters } = context;
    this.adapters = plan.adapters.map((_, index) => this.makeAdapter(index));
    this.links =
      this.adapters.length > 0 && hasAdapters
        ? new LinkWatch(native, watcher, this.adapters)
        : null;
    this.service = new ControlService({
      plan,
      counters,
      now: () => context.now(),
      wholeReply: (vm) => context.mtuTo(context.ports[vm]) - UDP_HEADERS,
      reply: (vm, peer, text) => this.reply(vm, peer, text),
      view: (adapter) => this.adapters[adapter].detail(),
      openAdapter: (adapter) => this.open(adapter),
      reopenAdapter: (adapter) => this.adapters[adapter].reopen(),
      closeAdapter: (adapter, reason) => this.adapters[adapter].close(reason),
      onChange: (adapter) => this.tell(adapter),
      log: (level, message, fields) => this.log(level, message, fields),
    });
  }

  /** The main thread has opened an adapter's packet sockets: makes them ours, by descriptors of our own. */
  opened(message: Extract<ToWorker, { kind: 'adapterOpened' }>): void {
    const { native } = this.context;
    const { adapter } = message;
    let fd = -1;
    let doorbellFd = -1;
    try {
      fd = native.duplicate(message.fd);
      doorbellFd = native.duplicate(message.doorbell.fd);
    } catch {
      // No descriptor is left.
    }
    this.context.post({ kind: 'adapterTaken', adapter, taken: doorbellFd >= 0 });
    if (doorbellFd < 0) {
      if (fd >= 0) native.closeDescriptor(fd);
      this.refused(adapter, 'no file descriptor left');
      return;
    }
    const doorbell = { ...message.doorbell, fd: doorbellFd };
    if (this.adapters[adapter].attach({ ...message, fd, doorbell })) this.service.opened(adapter);
    else this.service.refused(adapter, this.adapters[adapter].reason);
  }

  /** An adapter could not be opened, for `reason`. */
  refused(adapter: number, reason: string): void {
    this.adapters[adapter].refused(reason);
    this.service.refused(adapter, reason);
  }

  /** A VM appeared or moved: its network's LAN learns that its addresses are here. */
  announce(port: Port): void {
    const adapter = this.adapters.find(({ plan }) => plan.network === port.network);
    adapter?.announce(port.vm.addresses.map(keyOf));
  }

  /** Before each wait that may be long (not before a rest). False when something has come already. */
  fallAsleep(): boolean {
    let nothing = true;
    for (const adapter of this.adapters) if (!adapter.fallAsleep()) nothing = false;
    return nothing;
  }

  /** Timers; returns the milliseconds until it should be called again. */
  tick(now: number): number {
    let next = Number.POSITIVE_INFINITY;
    for (const adapter of this.adapters) next = Math.min(next, adapter.tick(now));
    return Math.min(next, this.service.tick(now));
  }

  /** Tells the main thread how all adapters stand. */
  tellAll(): void {
    for (let adapter = 0; adapter < this.adapters.length; adapter++) this.tell(adapter);
  }

  /** The base ends. */
  close(): void {
    for (const adapter of this.adapters) adapter.close('the base ended');
    this.links?.close();
  }

  private makeAdapter(index: number): Adapter {
    const { context } = this;
    const plan = context.plan.adapters[index];
    const vms = context.plan.vms.length;
    const network = context.networks[plan.network];
    const adapter: Adapter = new Adapter({
      native: context.native,
      storage: context.storage,
      copies: context.copies,
      counters: context.counters,
      outbox: context.outbox,
      port: vms + index,
      senders: vms + context.plan.adapters.length,
      plan,
      network: network.plan,
      addresses: {
        owner: (key) => network.addresses.find(key),
        ownedKeys: () => [...network.addresses.entries()].map(([key]) => key),
      },
      log: (level, message, fields) =>
        context.post({
          kind: 'log',
          level,
          adapter: plan.name,
          message,
          ...(fields && { fields }),
        }),
      unreached: (from, packet) => context.unreached(from, packet),
      requestOpen: () => context.post({ kind: 'adapterOpen', adapter: index }),
      watcher: context.watcher,
      now: () => context.now(),
      time: context.time,
      due: (time) => context.due(time),
      onChange: () => this.tell(index),
    });
    network.adapter = adapter;
    network.nextHop = plan.nextHop === null ? 0 : keyOf(plan.nextHop);
    return adapter;
  }

  private open(index: number): void {
    const adapter = this.adapters[index];
    adapter.open();
    if (adapter.state === 'open' || adapter.state === 'down') this.service.opened(index);
  }

  private tell(index: number): void {
    if (!this.context.hasAdapters) return;
    const detail = { ...this.adapters[index].detail(), ...this.service.control(index) };
    this.context.post({ kind: 'adapter', adapter: index, detail });
  }

  /** A control reply, from the base's own address to the guest that asked; in fragments where the guest's MTU is shorter. */
  private reply(vm: number, peer: ControlPeer, text: string): void {
    const port = this.context.ports[vm];
    const network = this.context.networks[port.network];
    const mac = parseMac(port.mac ?? 'ff:ff:ff:ff:ff:ff');
    const packet = udpPacket(
      { mac: network.mac, address: network.address, port: CONTROL_PORT },
      { mac, address: peer.key, port: peer.udpPort },
      new TextEncoder().encode(text),
    );
    if (!queueUdp(this.context.outbox, vm, packet, this.context.mtuTo(port))) {
      this.context.post({
        kind: 'log',
        level: 'warn',
        vm: port.vm.name, // such lines are limited for each VM
        message: `a control reply to ${dotted(peer.key)} was lost: too much is waiting`,
      });
    }
  }

  private log(level: 'info' | 'warn', message: string, fields?: Record<string, unknown>): void {
    this.context.post({ kind: 'log', level, message, ...(fields && { fields }) });
  }
}
