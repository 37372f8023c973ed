/**
 * What the main thread knows about the running base: the plan, the counters it shares with the turn workers, and the
 * details these last reported. Status and metrics are made from this alone, so asking costs the data path nothing.
 */
import type { AdapterDetail, VmDetail } from './base/messages.ts';
import type { BasePlan } from './plan.ts';
import { workerOf } from './handoff/handoff.ts';
import { CounterSums } from './counters.ts';

export class BaseState {
  readonly plan: BasePlan;
  readonly counters: CounterSums;
  readonly vms: VmDetail[];
  readonly adapters: AdapterDetail[];
  readonly #startedAt = performance.now();
  ready = false;
  /** How often a turn worker had to be started anew. */
  workerRestarts = 0;
  /** Log lines lost because nobody read them; filled in by the daemon. */
  logDropped: () => number = () => 0;
  /** Whether the file of a socket that we listen on was removed or moved, so that nobody finds it; filled in by the daemon. */
  socketGone: (path: string) => boolean = () => false;

  constructor(plan: BasePlan) {
    this.plan = plan;
    this.counters = new CounterSums(plan.vms.length + plan.adapters.length, plan.datapath.workers);
    this.vms = plan.vms.map((vm) => waitingVm(vm.mac));
    this.adapters = plan.adapters.map((adapter) => closedAdapter(adapter.mac));
  }

  /** Since the main thread made it. */
  get uptimeSeconds(): number {
    return (performance.now() - this.#startedAt) / 1000;
  }

  /**
   * A turn worker is gone, and with it the connections of its VMs and what was in its base storage, backlogs and waiting rooms. That is
   * booked as dropped, so that received = delivered + waiting + drops stays true for every port. What others handed over to it and it had
   * not taken still waits: the next one takes it. The connections have ended, too: connects - disconnects are those that are there.
   * `missing`: what its VMs and adapters lack, for people.
   */
  workerLost(worker: number, missing?: string): void {
    this.ready = false;
    const { plan } = this;
    const counters = this.counters.blocks[worker]!;
    plan.vms.forEach((vm, index) => {
      if (vm.worker === worker) this.vms[index] = waitingVm(vm.mac, missing);
    });
    plan.adapters.forEach((adapter, index) => {
      if (workerOf(plan, plan.vms.length + index) === worker)
        this.adapters[index] = closedAdapter(adapter.mac, missing);
    });
    for (let record = 0; record < plan.vms.length + plan.adapters.length; record++) {
      counters.add(record, 'workerLost', this.counters.here(worker, record));
      counters.add(record, 'waiting', -counters.get(record, 'waiting'));
      const connections = counters.get(record, 'connects') - counters.get(record, 'disconnects');
      counters.add(record, 'disconnects', connections);
    }
  }
}

function waitingVm(mac: string | null, missing = 'no front-end has connected'): VmDetail {
  return {
    state: 'waiting',
    missing,
    frontend: null,
    features: [],
    mac,
    queuePairs: 0,
    memory: { regions: 0, bytes: 0 },
    rings: [],
    lastError: '',
  };
}

function closedAdapter(
  mac: string | null,
  reason = 'no management guest has opened it',
): AdapterDetail {
  return {
    state: 'closed',
    openedBy: null,
    leaseSeconds: null,
    mac,
    mtu: null,
    neighbours: 0,
    reason,
  };
}
