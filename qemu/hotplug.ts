// What comes to a running guest and goes from it: its network device, by the driver and by QEMU's
// monitor; memory; and snapshots of the whole of it.

import { until } from './wait.ts';
import type { Vm } from './vm.ts';

/** Waits for the guest's eth0 and sets it up as at boot. */
const SET_UP = [
  'for i in $(seq 150); do [ -e /sys/class/net/eth0 ] && break; sleep 0.1; done',
  '. /run/basewire.conf',
  'ip addr add $address dev eth0 && ip link set eth0 up && ip route add default via $gateway',
].join('\n');

/** Defines `offline`: prints the state files of memory blocks that are not used. */
const OFFLINE = 'offline() { grep -l offline /sys/devices/system/memory/memory*/state; }';

/** Takes the driver from the guest's network device and gives it back. */
export async function rebindDriver(vm: Vm): Promise<void> {
  const driver = 'cd /sys/bus/virtio/drivers/virtio_net && device=$(basename virtio[0-9]*)';
  await vm.ok(`${driver} && echo $device >unbind && echo $device >bind\n${SET_UP}`, 60);
}

/** Takes the device with this id from the guest; resolves when the guest has let it go. */
export async function unplug(vm: Vm, id: string): Promise<void> {
  const before = deleted(vm);
  await vm.qmp.execute('device_del', { id });
  await until(`${vm.name} to let ${id} go`, 60_000, () => deleted(vm) > before);
  await vm.ok('while [ -e /sys/class/net/eth0 ]; do sleep 0.1; done');
}

/** Gives the guest its network device again, with the properties that QEMU was started with. */
export async function plug(vm: Vm): Promise<void> {
  await vm.qmp.execute('device_add', properties(option(vm, '-device')));
  await vm.ok(SET_UP, 60);
}

/**
 * Takes the network back-end away, after its device: QEMU closes the connection to the base, and
 * removes the character device with it.
 */
export async function removeBackend(vm: Vm): Promise<void> {
  await vm.qmp.execute('netdev_del', { id: properties(option(vm, '-netdev')).id });
}

/** Adds the network back-end that QEMU was started with; it must connect to the base's socket. */
export async function addBackend(vm: Vm): Promise<void> {
  const { id, path } = properties(option(vm, '-chardev'));
  const addr = { type: 'unix', data: { path } };
  const backend = { type: 'socket', data: { addr, server: false, reconnect: 1 } };
  await vm.qmp.execute('chardev-add', { id, backend });
  const { queues, ...netdev } = properties(option(vm, '-netdev'));
  await vm.qmp.execute('netdev_add', { ...netdev, ...(queues && { queues: Number(queues) }) });
}

/** Plugs memory into a running guest, which sees it but does not use it yet. */
export async function plugMemory(vm: Vm, id: string, megabytes: number): Promise<void> {
  await vm.qmp.execute('object-add', {
    'qom-type': 'memory-backend-memfd',
    id: `${id}-memory`,
    size: megabytes << 20,
    share: true,
  });
  await vm.qmp.execute('device_add', { driver: 'pc-dimm', id, memdev: `${id}-memory` });
  await vm.ok(`${OFFLINE}; until offline | grep -q .; do sleep 0.1; done`);
}

/** Lets the guest's kernel use all memory that it has seen, and prefer it: what is new is Normal. */
export async function useMemory(vm: Vm): Promise<void> {
  await vm.ok(`${OFFLINE}; for state in $(offline); do echo online_kernel >$state || exit 1; done`);
}

/** Takes memory away that the guest does not use. */
export async function unplugMemory(vm: Vm, id: string): Promise<void> {
  const before = deleted(vm);
  await vm.qmp.execute('device_del', { id });
  await until(`${vm.name} to let ${id} go`, 60_000, () => deleted(vm) > before);
  await vm.qmp.execute('object-del', { id: `${id}-memory` });
}

/** A disk for snapshots, on which nothing lies but them; a file of QEMU's own making. */
export async function addSnapshotDisk(vm: Vm, filename: string): Promise<void> {
  const size = 4 << 30; // sparse
  await job(vm, 'blockdev-create', { options: { driver: 'file', filename, size: 0 } });
  await vm.qmp.execute('blockdev-add', { driver: 'file', filename, 'node-name': 'disk-file' });
  const qcow2 = { driver: 'qcow2', file: 'disk-file', size };
  await job(vm, 'blockdev-create', { options: qcow2 });
  const node = { driver: 'qcow2', file: 'disk-file', 'node-name': 'disk' };
  await vm.qmp.execute('blockdev-add', node);
}

/** Keeps the guest as it is now. */
export function saveSnapshot(vm: Vm): Promise<void> {
  return job(vm, 'snapshot-save', { tag: 'kept', vmstate: 'disk', devices: ['disk'] });
}

/** Puts the guest back to where it was when it was kept. */
export function loadSnapshot(vm: Vm): Promise<void> {
  return job(vm, 'snapshot-load', { tag: 'kept', vmstate: 'disk', devices: ['disk'] });
}

interface Job {
  id: string;
  status: string;
  error?: string;
}

let jobs = 0;

async function job(vm: Vm, command: string, args: object): Promise<void> {
  const id = `job${++jobs}`;
  await vm.qmp.execute(command, { 'job-id': id, ...args });
  const done = await until(`${vm.name}: ${command}`, 100_000, async () => {
    const all = (await vm.qmp.execute('query-jobs', {}, 100_000)) as Job[];
    return all.find((one) => one.id === id && one.status === 'concluded');
  });
  await vm.qmp.execute('job-dismiss', { id });
  if (done.error) throw new Error(`${vm.name}: ${command}: ${done.error}`);
}

function deleted(vm: Vm): number {
  return vm.qmp.events.filter((event) => event === 'DEVICE_DELETED').length;
}

/** The value of the first such option in how the guest is attached. */
function option(vm: Vm, name: string): string {
  const { attachment } = vm.options;
  const value = attachment[attachment.indexOf(name) + 1];
  if (value === undefined) throw new Error(`${vm.name} has no ${name}`);
  return value;
}

/** `virtio-net-pci,id=nic,vectors=0` as {driver, id, vectors}; a netdev's first word is its type. */
function properties(text: string): Record<string, string | undefined> {
  const [first = '', ...rest] = text.split(',');
  const key = first.startsWith('virtio') ? 'driver' : 'type';
  return Object.fromEntries([
    [key, first],
    ...rest.map((pair) => pair.split('=') as [string, string]),
  ]);
}
