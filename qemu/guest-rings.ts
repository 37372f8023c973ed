// What a guest's network device and its rings look like from outside of the base: the guest
// kernel's own counters, and the rings' bytes in guest memory, read through QEMU's monitor.

import { createHash } from 'node:crypto';
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { Vm } from './vm.ts';

interface QueueStatus {
  num: number;
  'desc-phys': number;
  'avail-phys': number;
  'used-phys': number;
}

/** @returns counters of the guest's eth0 by name (rx_packets, tx_packets, rx_bytes, ...) */
export async function interfaceCounters(vm: Vm): Promise<Record<string, number>> {
  const text = await vm.ok('cd /sys/class/net/eth0/statistics && grep . *');
  return Object.fromEntries(
    text.split('\n').map((line) => {
      const [name = '', value] = line.split(':');
      return [name, Number(value)];
    }),
  );
}

/** @returns what the base offers to a guest's network device, by QEMU's names */
export async function deviceFeatures(vm: Vm): Promise<unknown> {
  const path = await devicePath(vm);
  const status = (await vm.qmp.execute('x-query-virtio-status', { path })) as {
    'vhost-dev'?: { features: unknown; 'protocol-features': unknown };
  };
  const device = status['vhost-dev'];
  if (!device) throw new Error(`${vm.name}: QEMU tells nothing of its vhost device`);
  return { features: device.features, protocol: device['protocol-features'] };
}

async function devicePath(vm: Vm): Promise<string> {
  const devices = (await vm.qmp.execute('x-query-virtio')) as { name: string; path: string }[];
  const device = devices.find(({ name }) => name === 'virtio-net');
  if (!device) throw new Error(`${vm.name} has no virtio-net device`);
  return device.path;
}

/**
 * Where a queue of the guest's network device lies. The more obvious `x-query-virtio-queue-status`
 * must not be used: for a vhost-user device QEMU sends GET_VRING_BASE for it, which stops the ring.
 */
async function queueStatus(vm: Vm, queue: number): Promise<QueueStatus> {
  const path = await devicePath(vm);
  const command = 'x-query-virtio-vhost-queue-status';
  return (await vm.qmp.execute(command, { path, queue })) as QueueStatus;
}

/**
 * @returns guest-physical addresses of the buffers that stand in the guest's descriptor table of a
 *   queue now (split rings, those that point to indirect tables included)
 */
export async function bufferAddresses(vm: Vm, queue: number): Promise<number[]> {
  const status = await queueStatus(vm, queue);
  const bytes = await memoryBytes(vm, status['desc-phys'], 16 * status.num);
  return Array.from({ length: status.num }, (_, index) => {
    return Number(bytes.readBigUInt64LE(16 * index));
  });
}

/**
 * @returns sha256 over each part of the guest's first two rings (descriptors, available, used),
 *   as they lie in its memory now; needs QEMU 7.2 or later
 */
export async function ringSums(vm: Vm): Promise<Record<string, string>> {
  const sums: Record<string, string> = {};
  for (const queue of [0, 1]) {
    const status = await queueStatus(vm, queue);
    const size = status.num;
    const parts = {
      descriptors: [status['desc-phys'], 16 * size],
      available: [status['avail-phys'], 6 + 2 * size],
      used: [status['used-phys'], 6 + 8 * size],
    } as const;
    for (const [part, [address, bytes]] of Object.entries(parts)) {
      sums[`queue ${queue} ${part}`] = await memorySum(vm, address, bytes);
    }
  }
  return sums;
}

async function memorySum(vm: Vm, address: number, bytes: number): Promise<string> {
  return createHash('sha256')
    .update(await memoryBytes(vm, address, bytes))
    .digest('hex');
}

/** Guest memory as it is now, from a guest-physical address on. */
async function memoryBytes(vm: Vm, address: number, bytes: number): Promise<Buffer> {
  const filename = join(vm.options.folder, `${vm.name}.memory`);
  await vm.qmp.execute('pmemsave', { val: address, size: bytes, filename });
  const data = readFileSync(filename);
  rmSync(filename);
  return data;
}
