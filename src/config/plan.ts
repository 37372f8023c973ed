/** From a checked configuration to the plan that the turn worker gets: names become indices, defaults are filled in. */
import type { AdapterPlan, BasePlan, NetworkPlan, SocketPlan, VmPlan } from '../plan.ts';
import { baseMac } from './derived-mac.ts';
import type { Config, SocketConfig } from './schema.ts';
import { groupId, userId } from './users.ts';

export const DEFAULT_MTU = 1500;
const DEFAULT_FILE_MODE = 0o660;

/** The configuration must have passed its checks (`loadConfig`): names are looked up without asking. */
export function buildPlan(config: Config): BasePlan {
  const networkNames = Object.keys(config.networks);
  const vmNames = Object.keys(config.vms);
  const indexOf = (network: string | undefined) =>
    network === undefined ? 0 : networkNames.indexOf(network);

  const networks = Object.entries(config.networks).map(([name, network]): NetworkPlan => {
    const [subnet, prefix] = network.subnet.split('/') as [string, string];
    return {
      name,
      subnet,
      prefix: Number(prefix),
      address: network.address,
      mac: (network.mac ?? baseMac(name, network.subnet)).toLowerCase(),
      mtu: network.mtu ?? DEFAULT_MTU,
      packed: network.packed,
    };
  });

  const vms = Object.entries(config.vms).map(
    ([name, vm], index): VmPlan => ({
      name,
      network: indexOf(vm.network),
      addresses: vm.addresses,
      prefixes: vm.prefixes ?? [],
      mac: vm.mac?.toLowerCase() ?? null,
      management: vm.management,
      worker: vm.worker ?? index % config.datapath.workers,
      sockets: (vm.sockets ?? [vm.socket!]).map(socketPlan),
    }),
  );

  const adapters = Object.entries(config.adapters).map(
    ([name, adapter]): AdapterPlan => ({
      name,
      interface: adapter.interface,
      network: indexOf(adapter.network),
      controllers: adapter.controllers.map((controller) => vmNames.indexOf(controller)),
      nextHop: adapter.nextHop ?? null,
      mac: adapter.mac?.toLowerCase() ?? null,
      leaseSeconds: adapter.lease,
      onControllerLoss: adapter.onControllerLoss,
      coupleUdp: adapter.coupleUdp,
    }),
  );

  return {
    networks,
    vms,
    adapters,
    datapath: {
      poll: config.datapath.poll,
      spinMicroseconds: config.datapath.spin,
      // A core of its own is not taken from anybody.
      restMicroseconds: config.datapath.cores === undefined ? config.datapath.rest : 0,
      burst: config.datapath.burst,
      workers: config.datapath.workers,
      cores: config.datapath.cores ?? [],
    },
  };
}

function socketPlan(socket: SocketConfig): SocketPlan {
  const form = typeof socket === 'string' ? { path: socket, mode: 'server' as const } : socket;
  return {
    path: form.path,
    mode: form.mode,
    fd: -1,
    fileMode:
      form.permissions === undefined ? DEFAULT_FILE_MODE : Number.parseInt(form.permissions, 8),
    uid: form.owner === undefined ? -1 : (userId(form.owner) ?? -1),
    gid: form.group === undefined ? -1 : (groupId(form.group) ?? -1),
    allowUids: form.allowUids ?? null,
  };
}
