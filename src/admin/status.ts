/** `GET /v1/status`: everything about networks, VMs and adapters as one JSON value. */
import type { BaseState } from '../base-state.ts';
import type { AdapterDetail, VmDetail } from '../base/messages.ts';
import { type CELL, type CounterSums, DROP_REASONS, EVENTS } from '../counters.ts';
import { VERSION } from '../version.ts';

export interface Flow {
  datagrams: number;
  bytes: number;
}

/** What came from a port: datagrams = delivered + waiting + the sum of its drops. */
export interface SourceFlow extends Flow {
  delivered: number;
  waiting: number;
}

export interface NetworkStatus {
  subnet: string;
  address: string;
  mac: string;
  mtu: number;
}

export interface VmStatus extends Omit<VmDetail, 'state'> {
  state: VmDetail['state'];
  /** From the VM's output buffer. */
  output: SourceFlow;
  /** Into the VM's input buffer. */
  input: Flow;
  /** Of its output, by reason. */
  drops: Record<string, number>;
  network: string;
  addresses: string[];
  prefixes: string[];
  management: boolean;
  /** The turn worker that owns it. */
  worker: number;
  /** `gone`: we listen there, but its file was removed or moved. */
  sockets: { path: string; mode: string; gone: boolean }[];
  events: Record<string, number>;
}

export interface AdapterStatus extends AdapterDetail {
  /** To the network. */
  sent: Flow;
  /** From the network. */
  received: SourceFlow;
  /** Of what it received, by reason. */
  drops: Record<string, number>;
  interface: string;
  network: string;
  controllers: string[];
  nextHop: string | null;
  onControllerLoss: string;
  events: Record<string, number>;
}

export interface Status {
  version: string;
  pid: number;
  uptimeSeconds: number;
  ready: boolean;
  /** How many turn workers there are, and how often one had to be started anew. */
  workers: number;
  workerRestarts: number;
  logDropped: number;
  networks: Record<string, NetworkStatus>;
  vms: Record<string, VmStatus>;
  adapters: Record<string, AdapterStatus>;
}

/** The value of `GET /v1/status`, read now: plain data, nobody else's. */
export function buildStatus(state: BaseState): Status {
  const { plan, counters } = state;
  const networks: Record<string, NetworkStatus> = {};
  for (const network of plan.networks) {
    networks[network.name] = {
      subnet: `${network.subnet}/${network.prefix}`,
      address: network.address,
      mac: network.mac,
      mtu: network.mtu,
    };
  }
  const vms: Record<string, VmStatus> = {};
  plan.vms.forEach((vm, record) => {
    const { state: vmState, ...detail } = state.vms[record]!;
    vms[vm.name] = {
      state: vmState,
      output: source(counters, record),
      input: sent(counters, record),
      drops: cells(counters, record, DROP_REASONS),
      network: plan.networks[vm.network]!.name,
      addresses: vm.addresses,
      prefixes: vm.prefixes,
      management: vm.management,
      worker: vm.worker,
      sockets: vm.sockets.map((socket) => ({
        path: socket.fd >= 0 ? `fd ${socket.fd}` : socket.path,
        mode: socket.mode,
        gone: socket.fd < 0 && socket.mode === 'server' && state.socketGone(socket.path),
      })),
      ...detail,
      events: cells(counters, record, EVENTS),
    };
  });
  const adapters: Record<string, AdapterStatus> = {};
  plan.adapters.forEach((adapter, index) => {
    const record = plan.vms.length + index;
    const { state: adapterState, openedBy, ...detail } = state.adapters[index]!;
    adapters[adapter.name] = {
      state: adapterState,
      openedBy,
      sent: sent(counters, record),
      received: source(counters, record),
      drops: cells(counters, record, DROP_REASONS),
      interface: adapter.interface,
      network: plan.networks[adapter.network]!.name,
      controllers: adapter.controllers.map((vm) => plan.vms[vm]!.name),
      nextHop: adapter.nextHop,
      onControllerLoss: adapter.onControllerLoss,
      ...detail,
      events: cells(counters, record, EVENTS),
    };
  });
  return {
    version: VERSION,
    pid: process.pid,
    uptimeSeconds: Math.floor(state.uptimeSeconds),
    ready: state.ready,
    workers: plan.datapath.workers,
    workerRestarts: state.workerRestarts,
    logDropped: state.logDropped(),
    networks,
    vms,
    adapters,
  };
}

function source(counters: CounterSums, record: number): SourceFlow {
  return {
    datagrams: counters.get(record, 'receivedDatagrams'),
    bytes: counters.get(record, 'receivedBytes'),
    delivered: counters.get(record, 'delivered'),
    waiting: counters.get(record, 'waiting'),
  };
}

function sent(counters: CounterSums, record: number): Flow {
  return {
    datagrams: counters.get(record, 'sentDatagrams'),
    bytes: counters.get(record, 'sentBytes'),
  };
}

function cells(
  counters: CounterSums,
  record: number,
  names: Record<string, string>,
): Record<string, number> {
  const values: Record<string, number> = {};
  for (const name of Object.keys(names)) {
    values[name] = counters.get(record, name as keyof typeof CELL);
  }
  return values;
}
