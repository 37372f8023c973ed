/** A router and what it works on, with VMs that are connected and take everything, and without a base around it. */
import type { VmPlan } from '../../src/plan.ts';
import { Counters } from '../../src/counters.ts';
import { native } from '../../src/native.ts';
import { Attachment } from '../../src/port/attachment.ts';
import { Port } from '../../src/port/port.ts';
import { Network } from '../../src/routing/network.ts';
import type { RoutingContext } from '../../src/routing/context.ts';
import { Router } from '../../src/routing/router.ts';
import type { WayOut } from '../../src/routing/way-out.ts';
import type { BaseStorage } from '../../src/storage/base-storage.ts';
import { Outbox } from '../../src/storage/outbox.ts';
import { keyOf } from '../../src/wire/ipv4-address.ts';
import { parseMac } from '../../src/wire/mac.ts';
import { lanPlan } from './lan-plan.ts';

/**
 * VMs on one network, each with an address and, where its plan has one, a MAC that is known; those of other workers than 0 are theirs; `adapterMac`: there is an adapter, open, of which
 * routing knows no more than `way`. `nextHop`: where what is outside the subnet goes; `own`: what the test looks at.
 */
export function routerWorld(
  storage: BaseStorage,
  vms: Partial<VmPlan>[],
  adapterMac?: string,
  way: Partial<WayOut> = {},
  nextHop?: string,
  own: Partial<RoutingContext> = {},
): Router {
  const plan = lanPlan(vms);
  const network = new Network(plan.networks[0]);
  const ports = plan.vms.map((vm, number) => {
    const port = new Port(number, vm, keyOf(vm.addresses[0]), vm.worker !== 0);
    if (vm.mac !== null) port.setMac(parseMac(vm.mac), 0);
    port.current = new Attachment(native);
    network.enter(port);
    return port;
  });
  const counters = new Counters(ports.length + 1);
  const adapters: WayOut[] = [];
  if (adapterMac !== undefined) {
    const port = ports.length;
    const firstCell = counters.firstCell(port);
    const known = { port, firstCell, mac: parseMac(adapterMac), mtu: 1500, refusal: 0 };
    adapters.push({ ...known, plan: { network: 0 }, ...way } as unknown as WayOut);
    network.adapter = adapters[0];
    if (nextHop !== undefined) network.nextHop = keyOf(nextHop);
  }
  return new Router({
    time: new Float64Array(1),
    storage,
    ports,
    adapters,
    networks: [network],
    counters,
    outbox: new Outbox(counters),
    adaptersElsewhere: false,
    admitsControl: () => true,
    control: () => {},
    ...own,
  });
}
