/** A folder that is gone after the test, and things the tests of the main thread share. */
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import type { BasePlan } from '../../src/plan.ts';
import { DATAPATH } from '../support/datapath.ts';

export function testFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'basewire-test-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** One network, the VMs `web` and `controller`, the adapter `uplink`. */
export function testPlan(folder: string, interfaceName = 'bw-none'): BasePlan {
  const socket = (name: string) => ({
    path: join(folder, `${name}.sock`),
    mode: 'server' as const,
    fd: -1,
    fileMode: 0o660,
    uid: -1,
    gid: -1,
    allowUids: null,
  });
  const vm = (name: string, address: string, management: boolean) => ({
    name,
    network: 0,
    addresses: [address],
    prefixes: [],
    mac: null,
    management,
    worker: 0,
    sockets: [socket(name)],
  });
  return {
    networks: [
      {
        name: 'lan',
        subnet: '10.77.0.0',
        prefix: 24,
        address: '10.77.0.1',
        mac: '02:00:0a:4d:00:01',
        mtu: 1500,
        packed: false,
      },
    ],
    vms: [vm('web', '10.77.0.11', false), vm('controller', '10.77.0.2', true)],
    adapters: [
      {
        name: 'uplink',
        interface: interfaceName,
        network: 0,
        controllers: [1],
        nextHop: null,
        mac: null,
        leaseSeconds: 10,
        onControllerLoss: 'keep',
        coupleUdp: false,
      },
    ],
    datapath: DATAPATH,
  };
}

/** Open descriptors of this process. */
export function descriptorCount(): number {
  return readdirSync('/proc/self/fd').length;
}
