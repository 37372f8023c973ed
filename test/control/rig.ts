/** A control service with a clock of the test's, and adapters that open when the test says so. */
import type { AdapterPlan, BasePlan, VmPlan } from '../../src/plan.ts';
import { ControlService, type ControlPeer } from '../../src/control/service.ts';
import { type AdapterState, Counters } from '../../src/counters.ts';
import { DATAPATH } from '../support/datapath.ts';

export const WEB = 0;
export const FIRST = 1;
export const SECOND = 2;
export const THIRD = 3;
const PEER: ControlPeer = { key: 0x0b004d0a, udpPort: 40_000 };
export const NAMES = ['web', 'first', 'second', 'third'];

function vm(name: string): VmPlan {
  return {
    name,
    network: 0,
    addresses: [],
    prefixes: [],
    mac: null,
    management: name !== 'web',
    worker: 0,
    sockets: [],
  };
}

export function uplink(changes: Partial<AdapterPlan> = {}): AdapterPlan {
  return {
    name: 'uplink',
    interface: 'eth1',
    network: 0,
    controllers: [FIRST, SECOND, THIRD],
    nextHop: null,
    mac: null,
    leaseSeconds: 10,
    onControllerLoss: 'keep',
    coupleUdp: false,
    ...changes,
  };
}

export interface Reply {
  /** When it came. */
  at: number;
  vm: number;
  peer: ControlPeer;
  id: unknown;
  ok: boolean;
  error?: string;
  message?: string;
  [key: string]: unknown;
}

export class Rig {
  now = 1000;
  /** Bytes of a reply that reach a VM in one datagram. */
  wholeReply = 1472;
  readonly counters: Counters;
  readonly states: AdapterState[];
  /** Openings that the main thread has not answered yet. */
  readonly opening = new Set<number>();
  readonly replies: Reply[] = [];
  readonly texts: string[] = [];
  readonly closed: string[] = [];
  readonly lines: string[] = [];
  /** Who controls each adapter, as far as was told. */
  readonly told: (string | null)[];
  readonly service: ControlService;
  private id = 0;

  constructor(...adapters: AdapterPlan[]) {
    if (adapters.length === 0) adapters.push(uplink());
    const plan: BasePlan = {
      networks: [],
      vms: NAMES.map(vm),
      adapters,
      datapath: DATAPATH,
    };
    this.counters = new Counters(NAMES.length + adapters.length);
    this.states = adapters.map(() => 'closed');
    this.told = adapters.map(() => null);
    this.service = new ControlService({
      plan,
      counters: this.counters,
      now: () => this.now,
      wholeReply: () => this.wholeReply,
      reply: (vm, peer, text) => {
        this.texts.push(text);
        this.replies.push({ at: this.now, vm, peer, ...JSON.parse(text) });
      },
      view: (adapter) => {
        const attached = this.states[adapter] === 'open' || this.states[adapter] === 'down';
        const mac = attached ? '52:54:00:12:34:56' : null;
        return { state: this.states[adapter], mac, mtu: attached ? 1500 : null, reason: '' };
      },
      openAdapter: (adapter) => {
        if (this.states[adapter] === 'closed' || this.states[adapter] === 'gone')
          this.opening.add(adapter);
      },
      reopenAdapter: (adapter) => {
        this.states[adapter] = 'gone';
        this.opening.add(adapter);
      },
      closeAdapter: (adapter, reason) => {
        this.states[adapter] = 'closed';
        this.opening.delete(adapter);
        this.closed.push(reason);
      },
      onChange: (adapter) => {
        this.told[adapter] = this.service.control(adapter).openedBy;
      },
      log: (_, message) => this.lines.push(message),
    });
  }

  /** Whether it was admitted. */
  send(vm: number, request: unknown, peer = PEER): boolean {
    const text = typeof request === 'string' ? request : JSON.stringify(request);
    const admitted = this.service.admits(vm, Float64Array.of(this.now));
    if (admitted) this.service.receive(vm, peer, new TextEncoder().encode(text));
    return admitted;
  }

  /** Asks, and returns the reply; undefined when none came at once. */
  ask(vm: number, op: string, adapter?: string): Reply | undefined {
    const before = this.replies.length;
    const id = ++this.id;
    this.send(vm, { id, op, ...(op !== 'status' && { adapter: adapter ?? 'uplink' }) });
    if (this.replies.length === before) return undefined;
    return this.replies.at(-1);
  }

  /** The main thread has opened it. */
  opened(adapter = 0): void {
    this.opening.delete(adapter);
    this.states[adapter] = 'open';
    this.service.opened(adapter);
  }

  refused(reason: string, adapter = 0): void {
    this.opening.delete(adapter);
    this.service.refused(adapter, reason);
  }

  /** Lets time pass, calling `tick` when the service wants it. */
  pass(milliseconds: number): void {
    const end = this.now + milliseconds;
    for (;;) {
      const wait = this.service.tick(this.now);
      if (this.now + wait > end) break;
      this.now += Math.max(wait, 1);
    }
    this.now = end;
    this.service.tick(end);
  }

  /** `vm` opens the adapter and gets it. */
  take(vm: number): void {
    const reply = this.ask(vm, 'open');
    if (reply === undefined) this.opened();
    if (this.holder !== NAMES[vm]) throw new Error(`${NAMES[vm]} did not get it`);
  }

  get holder(): string | null {
    return this.service.control(0).openedBy;
  }
}
