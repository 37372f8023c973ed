// What a guest's network device and its rings look like from outside of the base: the guest
// kernel's own counters, and the rings' bytes in guest memory, read through QEMU's monitor.

import { createHash } from 'node:crypto';
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { Vm } from './vm.ts';

interface QueueStatus {
  'vring-num': number;
  'vring-desc': number;
  'vring-avail': number;
  'vring-used': number;
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

/**
 * @returns sha256 over each part of the guest's first two rings (descriptors, available, used),
 *   as they lie in its memory now; needs QEMU 7.2 or later
 */
export async function ringSums(vm: Vm): Promise<Record<string, string>> {
  const devices = (await vm.qmp.execute('x-query-virtio')) as { name: string; path: string }[];
  const device = devices.find(({ name }) => name === 'virtio-net');
  if (!device) throw new Error(`${vm.name} has no virtio-net device`);
  const sums: Record<string, string> = {};
  for (const queue of [0, 1]) {
    const status = (await vm.qmp.execute('x-query-virtio-queue-status', {
      path: device.path,
      queue,
    })) as QueueStatus;
    const size = status['vring-num'];
    const parts = {
      descriptors: [status['vring-desc'], 16 * size],
      available: [status['vring-avail'], 6 + 2 * size],
      used: [status['vring-used'], 6 + 8 * size],
    } as const;
    for (const [part, [address, bytes]] of Object.entries(parts)) {
      sums[`queue ${queue} ${part}`] = await memorySum(vm, address, bytes);
    }
  }
  return sums;
}

async function memorySum(vm: Vm, address: number, bytes: number): Promise<string> {
  const filename = join(vm.options.folder, `${vm.name}.memory`);
  await vm.qmp.execute('pmemsave', { val: address, size: bytes, filename });
  const sum = createHash('sha256').update(readFileSync(filename)).digest('hex');
  rmSync(filename);
  return sum;
}
