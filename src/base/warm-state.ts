/**
 * What is worth keeping over a restart: who leases which adapter, the VMs' learned MACs, the LAN's neighbours. Losing it costs
 * only warmth (an ARP exchange, a new `open`), so it is read back as if anybody could have written it, and whatever is
 * not well-formed or no longer fits the configuration is left out without a word.
 */
import type { Adapter } from '../adapter/adapter.ts';
import type { ControlService } from '../control/service.ts';
import { ADAPTERS_WORKER } from '../handoff/handoff.ts';
import type { Port } from '../port/port.ts';
import type { BasePlan } from '../plan.ts';
import { dotted, isAddress, keyOf } from '../wire/ipv4-address.ts';
import { isGroup, isMac, isZero, parseMac } from '../wire/mac.ts';

const VERSION = 1;
/** More entries than any table here has. */
const MAX_ENTRIES = 65_536;

export interface WarmState {
  version: typeof VERSION;
  leases: unknown;
  macs: { vm: string; mac: string }[];
  neighbours: { adapter: string; address: string; mac: string }[];
}

/** What is worth keeping now, of this worker's VMs and adapters; plain data, for the main thread to `merge`. */
export function snapshot(ports: Port[], adapters: Adapter[], control: ControlService): WarmState {
  return {
    version: VERSION,
    leases: control.snapshot(),
    // A VM of another worker has none here. What was restored and nobody has used yet is kept on: the next restart may come before the VMs have come back.
    macs: ports.flatMap(({ vm, probableMac: mac }) =>
      vm.mac === null && mac !== null ? [{ vm: vm.name, mac }] : [],
    ),
    neighbours: adapters.flatMap((adapter) =>
      [...adapter.knownNeighbours()].map(([key, mac]) => ({
        adapter: adapter.plan.name,
        address: dotted(key),
        mac,
      })),
    ),
  };
}

/**
 * Takes up what `snapshot` gave, as far as it fits. `from` may be anything. Never throws. Without `control`, and with no adapters, in
 * a worker that owns neither.
 */
export function restore(
  from: unknown,
  ports: Port[],
  adapters: Adapter[],
  control: ControlService | null,
): void {
  if (!isObject(from) || from.version !== VERSION) return;
  for (const entry of list(from.macs)) {
    const port = ports.find(({ vm }) => vm.name === entry.vm && vm.mac === null);
    const mac = unicast(entry.mac);
    // Only where to send to: what the VM sends from is learned anew.
    if (port && mac) port.hintMac(mac, 0);
  }
  for (const entry of list(from.neighbours)) {
    const adapter = adapters.find(({ plan }) => plan.name === entry.adapter);
    const mac = unicast(entry.mac);
    const { address } = entry;
    if (adapter && mac && typeof address === 'string' && isAddress(address))
      adapter.remember(keyOf(address), mac);
  }
  control?.restore(from.leases);
}

/**
 * The whole warm state after worker `worker` of the plan said `part`: its VMs' MACs, and from the adapters' owner all that is about
 * adapters. The rest stays as `before` had it, which may be anything.
 */
export function merge(before: unknown, part: WarmState, worker: number, plan: BasePlan): WarmState {
  if (plan.datapath.workers === 1) return part;
  const kept = isObject(before) && before.version === VERSION ? before : {};
  const workers = new Map(plan.vms.map((vm) => [vm.name, vm.worker]));
  const others = list(kept.macs).filter(({ vm }) => {
    const its = workers.get(vm as string);
    return its !== undefined && its !== worker;
  });
  const hasAdapters = worker === ADAPTERS_WORKER;
  return {
    version: VERSION,
    leases: hasAdapters ? part.leases : kept.leases,
    macs: [...(others as WarmState['macs']), ...part.macs],
    neighbours: hasAdapters ? part.neighbours : (list(kept.neighbours) as WarmState['neighbours']),
  };
}

function unicast(value: unknown): Uint8Array | null {
  if (typeof value !== 'string' || !isMac(value)) return null;
  const mac = parseMac(value);
  return isGroup(mac) || isZero(mac) ? null : mac;
}

function list(value: unknown): Record<string, unknown>[] {
  return Array.isArray(value) ? value.slice(0, MAX_ENTRIES).filter(isObject) : [];
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}
