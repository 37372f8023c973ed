/**
 * The management guests' protocol: JSON datagrams over UDP port 7356, one reply to each request. A state machine without
 * sockets or clock of its own: datagrams, time and what became of an opening come in, replies and wishes go out.
 *
 * A guest is identified by the port that its datagram came through, which it can't forge. A request names an adapter of the
 * configuration, never an interface. No request waits longer than five seconds, none is remembered longer, and nothing here
 * touches the data path: the worst that a flood does is to be ignored. The end of a front-end's connection ends no lease, as
 * the guest may just be rebooting; only time does.
 */
import type { BasePlan } from '../plan.ts';
import type { AdapterState, Counters } from '../counters.ts';
import { TokenBuckets } from '../token-buckets.ts';
import { Lease, NOBODY } from './lease.ts';
import { type Asker, type ControlPeer, Openings } from './openings.ts';
import { parseRequest, type Request } from './request.ts';
import { readSnapshot, type Snapshot } from './snapshot.ts';

/** Requests a second and at once, for each VM; what is above is ignored. */
const RATE = 20;
const BURST = 40;
/** Openings a second and at once, for each adapter: each maps rings of many megabytes. */
const OPENINGS = { rate: 0.5, burst: 10 };
/** Log lines a second and at once, for each adapter: a guest that opens and closes all the time fills no disk. */
const LOG_LINES = { rate: 0.5, burst: 20 };
/** So that a reply fits into one datagram of 1500 bytes, whatever the MTU. */
const MAX_REPLY_BYTES = 1400;
/** In place of what a message was shortened by. */
const SHORTENED = '…';

export type ControlError = 'forbidden' | 'unknownAdapter' | 'malformed' | 'unavailable' | 'held';

export type { ControlPeer } from './openings.ts';

/** What is to be said about an adapter. */
export interface AdapterView {
  state: AdapterState;
  mac: string | null;
  mtu: number | null;
  /** Why it is not open. */
  reason: string;
}

export interface ControlContext {
  plan: BasePlan;
  counters: Counters;
  /** Milliseconds of a monotonic clock. */
  now(): number;
  /** Bytes of the longest reply that reaches the VM in one datagram. */
  wholeReply(vm: number): number;
  /** A longer one goes in fragments. */
  reply(vm: number, peer: ControlPeer, text: string): void;
  view(adapter: number): AdapterView;
  /** Opens it, or sees that it stays open; `opened` or `refused` follows when it was not. */
  openAdapter(adapter: number): void;
  /** The same after a restart: where it can't be opened now, it is tried again until it can, and no `refused` ends its lease. */
  reopenAdapter(adapter: number): void;
  closeAdapter(adapter: number, reason: string): void;
  /** Who controls an adapter changed. */
  onChange(adapter: number): void;
  log(level: 'info' | 'warn', message: string, fields?: Record<string, unknown>): void;
}

interface Controlled {
  readonly lease: Lease;
  readonly openings: Openings;
  /** Who the log says controls it. */
  named: number;
  /** Why it could not be opened last; '' once it was. */
  refusal: string;
}

export class ControlService {
  private readonly context: ControlContext;
  private readonly adapters: Controlled[];
  private readonly byName: Map<string, number>;
  private readonly requests: TokenBuckets;
  private readonly openings: TokenBuckets;
  private readonly logLines: TokenBuckets;

  constructor(context: ControlContext) {
    this.context = context;
    const { adapters, vms } = context.plan;
    this.adapters = adapters.map(({ controllers, leaseSeconds }) => ({
      lease: new Lease(controllers, leaseSeconds * 1000),
      openings: new Openings(),
      named: NOBODY,
      refusal: '',
    }));
    this.byName = new Map(adapters.map(({ name }, index) => [name, index]));
    this.requests = new TokenBuckets(vms.length, RATE, BURST);
    this.openings = new TokenBuckets(adapters.length, OPENINGS.rate, OPENINGS.burst);
    this.logLines = new TokenBuckets(adapters.length, LOG_LINES.rate, LOG_LINES.burst);
  }

  /**
   * Counts a request that came through the port of `vm` now, at `time[0]`; false when that VM sends too many: then nothing else is done about it.
   * Called for whatever a guest sends, so it allocates nothing.
   */
  admits(vm: number, time: Float64Array): boolean {
    const { counters } = this.context;
    counters.add(vm, 'controlRequests');
    if (this.requests.take(vm, time[0])) return true;
    counters.add(vm, 'controlRefused');
    return false;
  }

  /** Takes the UDP payload of an admitted request that came through the port of `vm`. Replies at once, or later. */
  receive(vm: number, peer: ControlPeer, payload: Uint8Array): void {
    const now = this.context.now();
    const request = parseRequest(payload);
    const asker = { vm, peer, id: request.id };
    if (!this.context.plan.vms[vm].management) {
      this.refuse(asker, 'forbidden', 'this VM is not a management guest');
    } else if ('malformed' in request) {
      this.refuse(asker, 'malformed', request.malformed);
    } else if (request.op === 'status') {
      this.status(asker, now);
    } else {
      const adapter = this.byName.get(request.adapter);
      if (adapter === undefined) {
        const message = 'no adapter of this name is configured';
        this.refuse(asker, 'unknownAdapter', message);
      } else if (!this.adapters[adapter].lease.lists(vm)) {
        const message = 'this VM is not among the adapter’s controllers';
        this.refuse(asker, 'forbidden', message);
      } else {
        this.serve(asker, request, adapter, now);
      }
    }
  }

  /** The adapter is open (or its interface is down, but the socket is there). */
  opened(adapter: number): void {
    const now = this.context.now();
    this.adapters[adapter].refusal = '';
    for (const asker of this.adapters[adapter].openings.take()) {
      if (this.adapters[adapter].lease.holder === asker.vm) this.granted(asker, adapter, now);
      else this.refuseHeld(asker, adapter, now);
    }
  }

  /** The adapter could not be opened. */
  refused(adapter: number, reason: string): void {
    // One that is `gone` comes back with its interface, and stays in its holder's care.
    if (this.context.view(adapter).state === 'closed') this.giveBack(adapter);
    this.adapters[adapter].refusal = reason;
    this.refuseWaiting(adapter, reason);
  }

  /** Ends leases and waits whose time is over; the milliseconds until it wants to be called again. */
  tick(now: number): number {
    let next = Number.POSITIVE_INFINITY;
    for (let adapter = 0; adapter < this.adapters.length; adapter++) {
      this.expire(adapter, now);
      const controlled = this.adapters[adapter];
      for (const asker of controlled.openings.takeOverdue(now)) {
        this.refuse(asker, 'unavailable', 'the adapter is still being opened: ask again');
      }
      next = Math.min(next, controlled.lease.next(), controlled.openings.next());
    }
    return Math.max(0, next - now);
  }

  /** True while a lease runs, or what follows one: to them a standstill matters. */
  get leased(): boolean {
    for (const { lease } of this.adapters) if (lease.next() < Number.POSITIVE_INFINITY) return true;
    return false;
  }

  /** For so many milliseconds no request could be heard: leases run on from where they were. */
  stoodStill(milliseconds: number): void {
    for (const { lease } of this.adapters) lease.extend(milliseconds);
  }

  /** For the status: who holds the adapter, and whole seconds left. */
  control(adapter: number): { openedBy: string | null; leaseSeconds: number | null } {
    const { lease } = this.adapters[adapter];
    if (lease.holder === NOBODY) return { openedBy: null, leaseSeconds: null };
    return {
      openedBy: this.context.plan.vms[lease.holder].name,
      leaseSeconds: Math.ceil(lease.left(this.context.now()) / 1000),
    };
  }

  /** Who holds what, and what stays open though nobody does, for a restart. */
  snapshot(): Snapshot {
    const now = this.context.now();
    const { plan } = this.context;
    const adapters: Snapshot['adapters'] = [];
    for (const [index, { lease }] of this.adapters.entries()) {
      const adapter = plan.adapters[index].name;
      const left = lease.holder === NOBODY ? 0 : lease.left(now);
      if (left > 0) {
        const holder = plan.vms[lease.holder].name;
        adapters.push({ adapter, holder, secondsLeft: left / 1000 });
      } else if (this.keeps(index) && this.context.view(index).state !== 'closed') {
        adapters.push({ adapter, holder: null, secondsLeft: 0 });
      }
    }
    return { version: 1, adapters };
  }

  /** Takes up what `snapshot` wrote, as far as the configuration still allows it, and has those adapters opened again. Never throws. */
  restore(from: unknown): void {
    for (const { adapter: name, holder, secondsLeft } of readSnapshot(from)) {
      const adapter = this.byName.get(name);
      if (adapter === undefined || this.adapters[adapter].lease.holder !== NOBODY) continue;
      const allowed =
        holder === null ? this.keeps(adapter) : this.resume(adapter, holder, secondsLeft);
      if (!allowed) continue;
      this.context.reopenAdapter(adapter);
      this.context.onChange(adapter);
    }
  }

  /** The holder's lease goes on, if it may still have one. */
  private resume(adapter: number, holder: string, secondsLeft: number): boolean {
    const { vms } = this.context.plan;
    const vm = vms.findIndex(({ name }) => name === holder);
    const { lease } = this.adapters[adapter];
    if (vm < 0 || !vms[vm].management || !lease.lists(vm)) return false;
    lease.resume(vm, secondsLeft * 1000, this.context.now());
    this.adapters[adapter].named = vm;
    return true;
  }

  /** It stays open when no controller is left. */
  private keeps(adapter: number): boolean {
    return this.context.plan.adapters[adapter].onControllerLoss === 'keep';
  }

  private serve(
    asker: Asker,
    request: Extract<Request, { adapter: string }>,
    adapter: number,
    now: number,
  ): void {
    this.expire(adapter, now);
    const { lease } = this.adapters[adapter];
    const { holder } = lease;
    const { vm } = asker;
    if (request.op === 'renew') {
      if (lease.renew(vm, now)) this.granted(asker, adapter, now);
      else this.refuseHeld(asker, adapter, now);
    } else if (request.op === 'close') {
      if (holder === NOBODY || holder === vm) this.close(asker, adapter, now);
      else this.refuseHeld(asker, adapter, now);
    } else if (lease.take(vm, now)) {
      if (holder !== vm) this.context.onChange(adapter);
      this.open(asker, adapter, now);
    } else {
      this.refuseHeld(asker, adapter, now);
    }
  }

  private open(asker: Asker, adapter: number, now: number): void {
    const { state } = this.context.view(adapter);
    const { openings, refusal } = this.adapters[adapter];
    if (state === 'open' || state === 'down') {
      this.granted(asker, adapter, now);
    } else if (openings.count === 0 && !this.openings.take(adapter, now)) {
      if (state === 'closed') this.giveBack(adapter);
      const tooOften = 'the adapter was opened too often: wait a few seconds';
      // Where it can't be opened, that it was tried too often is the lesser news.
      this.refuse(asker, 'unavailable', refusal || tooOften);
    } else if (openings.add(asker, now)) {
      this.context.openAdapter(adapter);
    } else {
      this.refuse(asker, 'unavailable', 'too many requests wait for this adapter');
    }
  }

  /** Nobody is to hold an adapter that is closed, and keep others from opening it. */
  private giveBack(adapter: number): void {
    const { lease } = this.adapters[adapter];
    if (lease.holder === NOBODY) return;
    lease.release();
    this.context.onChange(adapter);
  }

  private close(asker: Asker, adapter: number, now: number): void {
    const { lease, openings } = this.adapters[adapter];
    const { name } = this.context.plan.vms[asker.vm];
    // Held and closed: it is being opened, though nobody waits for that (after a restart, or any more).
    const held = lease.holder !== NOBODY;
    lease.release();
    if (this.context.view(adapter).state !== 'closed' || openings.count > 0 || held) {
      this.note(adapter, 'info', `adapter closed by ${name}`);
      this.context.closeAdapter(adapter, `closed by ${name}`);
    }
    this.refuseWaiting(adapter, `closed by ${name} meanwhile`);
    this.context.onChange(adapter);
    this.granted(asker, adapter, now);
  }

  /** Said when it is granted: of somebody who asks on and on for what can't be opened, never. */
  private noteHolder(adapter: number): void {
    const controlled = this.adapters[adapter];
    const { holder } = controlled.lease;
    if (holder === controlled.named) return;
    controlled.named = holder;
    if (holder === NOBODY) return;
    const { name } = this.context.plan.vms[holder];
    this.note(adapter, 'info', `adapter controlled by ${name}`);
  }

  /** What the end of a lease brings with it. */
  private expire(adapter: number, now: number): void {
    const { lease } = this.adapters[adapter];
    const loser = lease.expire(now);
    if (loser !== NOBODY) {
      const name = this.context.plan.vms[loser].name;
      this.note(adapter, 'warn', `lease of ${name} ended`);
      this.adapters[adapter].named = NOBODY;
      this.context.onChange(adapter);
    }
    if (!lease.loss(now)) return;
    const { onControllerLoss } = this.context.plan.adapters[adapter];
    const becomes = onControllerLoss === 'keep' ? 'stays as it is' : 'is closed';
    this.note(
      adapter,
      'warn',
      `no controller is left: the adapter ${becomes} (onControllerLoss: ${onControllerLoss})`,
    );
    if (onControllerLoss === 'close') {
      this.context.closeAdapter(adapter, 'no controller is left');
      this.refuseWaiting(adapter, 'the lease ended while it was being opened');
    }
  }

  /** Says how the adapter is and how long the lease lasts; without a lease (after `close`) there is no `lease`. */
  private granted(asker: Asker, adapter: number, now: number): void {
    const { lease } = this.adapters[adapter];
    this.noteHolder(adapter);
    this.send(asker, {
      id: asker.id,
      ok: true,
      ...this.describe(adapter),
      ...(lease.holder === asker.vm && { lease: seconds(lease.left(now)) }),
    });
  }

  private describe(adapter: number): Record<string, unknown> {
    const { name, interface: interfaceName } = this.context.plan.adapters[adapter];
    const { state, mac, mtu } = this.context.view(adapter);
    return { adapter: name, state, interface: interfaceName, mac, mtu };
  }

  /** Every adapter that the VM may control, as many as fit into a datagram, and one at least; `more` tells of the others. */
  private status(asker: Asker, now: number): void {
    const { vm, id } = asker;
    const adapters: Record<string, unknown>[] = [];
    let more = false;
    let room = this.room(vm) - bytes({ id, ok: true, adapters, more: true });
    for (let adapter = 0; adapter < this.adapters.length; adapter++) {
      this.expire(adapter, now);
      const { lease } = this.adapters[adapter];
      if (!lease.lists(vm)) continue;
      const held = lease.holder !== NOBODY;
      const entry = {
        ...this.describe(adapter),
        holder: held ? this.context.plan.vms[lease.holder].name : null,
        lease: held ? seconds(lease.left(now)) : null,
      };
      room -= bytes(entry) + 1;
      if (room < 0 && adapters.length > 0) more = true;
      else adapters.push(entry);
    }
    this.send(asker, { id, ok: true, adapters, ...(more && { more }) });
  }

  private refuseHeld(asker: Asker, adapter: number, now: number): void {
    const { lease } = this.adapters[adapter];
    const message =
      lease.holder === NOBODY
        ? 'nobody holds the lease: send open, again if a more preferred controller waits'
        : `held by ${this.context.plan.vms[lease.holder].name} for ${seconds(lease.left(now))} s more`;
    this.refuse(asker, 'held', message);
  }

  private refuseWaiting(adapter: number, message: string): void {
    for (const asker of this.adapters[adapter].openings.take()) {
      this.refuse(asker, 'unavailable', message);
    }
  }

  private refuse(asker: Asker, error: ControlError, message: string): void {
    this.context.counters.add(asker.vm, 'controlRefused');
    const { id, vm } = asker;
    const room = this.room(vm) - bytes({ id, ok: false, error, message: '' });
    this.send(asker, { id, ok: false, error, message: shorten(message, room) });
  }

  /** Bytes that a reply may have where it can be made shorter. */
  private room(vm: number): number {
    return Math.min(MAX_REPLY_BYTES, this.context.wholeReply(vm));
  }

  private send({ vm, peer }: Asker, reply: Record<string, unknown>): void {
    this.context.reply(vm, peer, JSON.stringify(reply));
  }

  private note(adapter: number, level: 'info' | 'warn', message: string): void {
    if (!this.logLines.take(adapter, this.context.now())) return;
    this.context.log(level, message, { adapter: this.context.plan.adapters[adapter].name });
  }
}

function bytes(value: unknown): number {
  return Buffer.byteLength(JSON.stringify(value));
}

/** Bytes of a string inside a reply, without its quotation marks. */
function textBytes(text: string): number {
  return bytes(text) - 2;
}

/**
 * As much of `message` as `room` bytes of a reply take. All of it where they take nothing: then the reply goes in fragments anyway,
 * and is none the better for a lack of words.
 */
function shorten(message: string, room: number): string {
  let left = room - textBytes(SHORTENED);
  if (left < 0 || textBytes(message) <= room) return message;
  let kept = '';
  for (const character of message) {
    left -= textBytes(character);
    if (left < 0) break;
    kept += character;
  }
  return kept + SHORTENED;
}

function seconds(milliseconds: number): number {
  return Math.ceil(milliseconds / 1000);
}
