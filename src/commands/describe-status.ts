/** The status for people: tables first, then for each VM and adapter what is missing and what was dropped, and why. */
import type { AdapterStatus, Status, VmStatus } from '../admin/status.ts';
import { DROP_REASONS, VM_STATES } from '../counters.ts';
import { printable } from '../printable.ts';
import { narrowStatus } from './narrow-status.ts';
import { table } from './table.ts';

/** As it should be first, then from the beginning. */
const POPULATION = VM_STATES.toSorted((a, b) => Number(b === 'running') - Number(a === 'running'));

/**
 * Text of several lines; what came from names and peers is made printable. `names`: VMs and adapters that are shown, all where there are none; throws a
 * CommandError where one does not exist.
 */
export function describeStatus(whole: Status, names: readonly string[] = []): string {
  const status = names.length > 0 ? narrowStatus(whole, names) : whole;
  const parts = [headline(whole), networks(status)];
  if (Object.keys(status.vms).length > 0) parts.push(vms(status.vms));
  if (Object.keys(status.adapters).length > 0) parts.push(adapters(status.adapters));
  const notes = [
    ...Object.entries(status.vms).flatMap(([name, vm]) => vmNotes(name, vm)),
    ...Object.entries(status.adapters).flatMap(([name, adapter]) => adapterNotes(name, adapter)),
  ];
  if (notes.length > 0) parts.push(notes.map((note) => `${printable(note)}\n`).join(''));
  if (Object.values(status.vms).some(({ state }) => state === 'waiting'))
    parts.push('QEMU arguments of a VM: basewire qemu-args VM --config FILE\n');
  return parts.join('\n');
}

function headline(status: Status): string {
  const notes = [`basewire ${status.version}, up ${duration(status.uptimeSeconds)}`];
  if (Object.keys(status.vms).length > 0) notes.push(population(status.vms));
  if (!status.ready) notes.push('NOT READY: a turn worker does not serve');
  if (status.workerRestarts > 0)
    notes.push(`a turn worker started anew ${times(status.workerRestarts)}`);
  if (status.logDropped > 0) notes.push(`${status.logDropped} log lines lost`);
  return `${printable(notes.join('; '))}\n`;
}

/** `60 VMs: 57 running, 2 waiting, 1 broken` */
function population(all: Record<string, VmStatus>): string {
  const states = Object.values(all).map(({ state }) => state);
  const counts = POPULATION.map((state) => ({
    state,
    count: states.filter((each) => each === state).length,
  }));
  const words = counts
    .filter(({ count }) => count > 0)
    .map(({ state, count }) => `${count} ${state}`);
  return `${states.length} VM${states.length === 1 ? '' : 's'}: ${words.join(', ')}`;
}

function networks(status: Status): string {
  return table(
    ['NETWORK', 'SUBNET', 'BASE ADDRESS', 'BASE MAC', 'MTU'],
    Object.entries(status.networks).map(([name, network]) => [
      name,
      network.subnet,
      network.address,
      network.mac,
      String(network.mtu),
    ]),
  );
}

function vms(all: Record<string, VmStatus>): string {
  return table(
    ['VM', 'STATE', 'NETWORK', 'ADDRESSES', 'MAC', 'OUT', 'OUT BYTES', 'IN', 'IN BYTES', 'DROPS'],
    Object.entries(all).map(([name, vm]) => [
      name,
      vm.state,
      vm.network,
      [...vm.addresses, ...vm.prefixes].join(' '),
      vm.mac ?? '-',
      String(vm.output.datagrams),
      String(vm.output.bytes),
      String(vm.input.datagrams),
      String(vm.input.bytes),
      String(total(vm.drops)),
    ]),
  );
}

function adapters(all: Record<string, AdapterStatus>): string {
  return table(
    [
      'ADAPTER',
      'STATE',
      'INTERFACE',
      'OPENED BY',
      'LEASE',
      'SENT',
      'SENT BYTES',
      'RECEIVED',
      'RECEIVED BYTES',
      'DROPS',
    ],
    Object.entries(all).map(([name, adapter]) => [
      name,
      adapter.state,
      adapter.interface,
      adapter.openedBy ?? '-',
      adapter.leaseSeconds === null ? '-' : `${adapter.leaseSeconds} s`,
      String(adapter.sent.datagrams),
      String(adapter.sent.bytes),
      String(adapter.received.datagrams),
      String(adapter.received.bytes),
      String(total(adapter.drops)),
    ]),
  );
}

function vmNotes(name: string, vm: VmStatus): string[] {
  const notes: string[] = [];
  if (vm.state !== 'running') notes.push(`  missing: ${vm.missing || 'nothing known'}`);
  if (vm.lastError) notes.push(`  last error: ${vm.lastError}`);
  if (vm.state !== 'running') notes.push(...hints(vm));
  for (const { path, gone } of vm.sockets) {
    if (gone)
      notes.push(
        `  the file of its socket ${path} is gone: nobody can connect until basewire is restarted`,
      );
  }
  for (const ring of vm.rings) {
    if (ring.broken)
      notes.push(
        `  ring ${ring.index} is broken: ${ring.broken} (heals when the guest’s driver or QEMU resets it)`,
      );
  }
  if (vm.output.waiting > 0) notes.push(`  waiting for their receiver: ${vm.output.waiting}`);
  notes.push(...drops(vm.drops));
  return notes.length > 0 ? [`vm ${name}:`, ...notes] : [];
}

/** What the operator can do, in QEMU's own words. */
function hints(vm: VmStatus): string[] {
  const trouble = `${vm.missing} ${vm.lastError}`;
  if (/memory-backend/.test(trouble)) return []; // said already
  if (/memory/i.test(trouble)) {
    return [
      '  QEMU must share the guest’s memory: -object memory-backend-memfd,id=mem,size=SIZE,share=on -machine memory-backend=mem',
    ];
  }
  if (vm.state !== 'waiting') return [];
  const sockets = vm.sockets.filter(({ gone }) => !gone);
  if (sockets.length === 0) return []; // said as well
  const client = sockets.some((socket) => socket.mode === 'client');
  const direction = client
    ? 'QEMU must listen there (server=on,wait=off)'
    : 'basewire listens there';
  return [`  socket: ${sockets.map((socket) => socket.path).join(', ')} (${direction})`];
}

function adapterNotes(name: string, adapter: AdapterStatus): string[] {
  const notes: string[] = [];
  if (adapter.state !== 'open') {
    notes.push(
      `  ${adapter.reason || adapter.state} (may be opened by: ${adapter.controllers.join(', ')})`,
    );
  }
  if (adapter.state !== 'closed' && adapter.openedBy === null)
    notes.push(`  no controller holds it now (onControllerLoss: ${adapter.onControllerLoss})`);
  const lost = adapter.events.receiveOverruns ?? 0;
  if (lost > 0)
    notes.push(`  ${lost} frames were lost by the kernel because the receive ring was full`);
  const refused = adapter.events.transmitRefused ?? 0;
  if (refused > 0)
    notes.push(
      `  ${refused} of the frames sent were refused by the interface or its queue (tc -s qdisc show dev ${adapter.interface})`,
    );
  notes.push(...drops(adapter.drops));
  return notes.length > 0 ? [`adapter ${name}:`, ...notes] : [];
}

function drops(all: Record<string, number>): string[] {
  return Object.entries(all)
    .filter(([, count]) => count > 0)
    .sort(([, a], [, b]) => b - a)
    .map(([reason, count]) => {
      const sentence = (DROP_REASONS as Record<string, string>)[reason] ?? '';
      return `  dropped ${count} ${reason}: ${sentence}`;
    });
}

function total(all: Record<string, number>): number {
  return Object.values(all).reduce((sum, count) => sum + count, 0);
}

function times(count: number): string {
  return count === 1 ? 'once' : `${count} times`;
}

function duration(seconds: number): string {
  if (seconds < 120) return `${seconds} s`;
  if (seconds < 7200) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86400)} days`;
}
