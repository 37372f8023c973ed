/** The plan of a base with one network, as a configuration that says no more would give it, for tests that make their base by hand. */
import type { BasePlan, NetworkPlan, VmPlan } from '../../src/plan.ts';
import { BASE_IP, BASE_MAC } from './daemon.ts';
import { DATAPATH } from './datapath.ts';

/** VMs by what they have of their own; `network` and `datapath`: what is otherwise there. */
export function lanPlan(
  vms: Partial<VmPlan>[],
  network: Partial<NetworkPlan> = {},
  datapath: Partial<BasePlan['datapath']> = {},
): BasePlan {
  return {
    networks: [
      {
        name: 'lan',
        subnet: '10.77.0.0',
        prefix: 24,
        address: BASE_IP,
        mac: BASE_MAC,
        mtu: 1500,
        packed: false,
        ...network,
      },
    ],
    vms: vms.map((vm, index) => ({
      name: `vm${index}`,
      network: 0,
      addresses: [],
      prefixes: [],
      mac: null,
      management: false,
      worker: 0,
      sockets: [],
      ...vm,
    })),
    adapters: [],
    datapath: { ...DATAPATH, ...datapath },
  };
}
