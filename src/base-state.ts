/**
 * What the main thread knows about the running base: the plan, the counters it shares with the turn worker, and the
 * details the worker last reported. Status and metrics are made from this alone, so asking costs the data path nothing.
 */
import type { AdapterDetail, BasePlan, VmDetail } from './base/plan.ts';
import { Counters } from './counters.ts';

export class BaseState {
  readonly plan: BasePlan;
  readonly counters: Counters;
  readonly vms: VmDetail[];
  readonly adapters: AdapterDetail[];
  readonly #startedAt = performance.now();
  ready = false;
  /** How often the turn worker had to be started anew. */
  workerRestarts = 0;
  /** Log lines lost because nobody read them; filled in by the daemon. */
  logDropped: () => number = () => 0;

  constructor(plan: BasePlan) {
    this.plan = plan;
    this.counters = new Counters(plan.vms.length + plan.adapters.length);
    this.vms = plan.vms.map((vm) => waitingVm(vm.mac));
    this.adapters = plan.adapters.map((adapter) => closedAdapter(adapter.mac));
  }

  get uptimeSeconds(): number {
    return (performance.now() - this.#startedAt) / 1000;
  }

  /**
   * The turn worker is gone, and with it all connections and what waited in its backlogs. What waited is
   * booked as dropped, so that received = delivered + drops stays true for every port.
   */
  workerLost(): void {
    this.ready = false;
    const { plan, counters } = this;
    plan.vms.forEach((vm, index) => {
      this.vms[index] = waitingVm(vm.mac);
    });
    plan.adapters.forEach((adapter, index) => {
      this.adapters[index] = closedAdapter(adapter.mac);
    });
    for (let record = 0; record < plan.vms.length + plan.adapters.length; record++) {
      const waiting = counters.get(record, 'waiting');
      counters.add(record, 'receiverNotRunning', waiting);
      counters.add(record, 'waiting', -waiting);
    }
  }
}

function waitingVm(mac: string | null): VmDetail {
  return {
    state: 'waiting',
    missing: 'no front-end has connected',
    frontend: null,
    features: [],
    mac,
    queuePairs: 0,
    memory: { regions: 0, bytes: 0 },
    rings: [],
    lastError: '',
  };
}

function closedAdapter(mac: string | null): AdapterDetail {
  return {
    state: 'closed',
    openedBy: null,
    leaseSeconds: null,
    mac,
    mtu: null,
    neighbours: 0,
    reason: 'no management guest has opened it',
  };
}
