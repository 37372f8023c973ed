/**
 * What a row needs that npm does not bring: Debian packages. Missing ones are installed when we may (root, apt-get, and
 * no --no-install), otherwise named with the command that installs them.
 */
import { spawnSync } from 'node:child_process';
import { accessSync, constants, existsSync, rmSync, writeFileSync } from 'node:fs';
import { delimiter } from 'node:path';

/** A program or file, and the Debian package that has it. */
export interface Need {
  what: string;
  package: string;
}

export const DPDK: Need[] = [
  { what: 'dpdk-testpmd', package: 'dpdk-dev' },
  {
    what: '/usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_net_virtio.so',
    package: 'librte-net-virtio23',
  },
  {
    what: '/usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_net_vhost.so',
    package: 'librte-net-vhost23',
  },
  {
    what: '/usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_net_af_packet.so',
    package: 'librte-net-af-packet23',
  },
  {
    what: '/usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_mempool_ring.so',
    package: 'librte-mempool-ring23',
  },
  { what: 'taskset', package: 'util-linux' },
  { what: 'stdbuf', package: 'coreutils' },
];
export const OVS: Need[] = [
  {
    what: '/usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk',
    package: 'openvswitch-switch-dpdk',
  },
  { what: 'ovsdb-server', package: 'openvswitch-common' },
  { what: 'ovs-vsctl', package: 'openvswitch-switch' },
];
export const NETWORK: Need[] = [{ what: 'ip', package: 'iproute2' }];
export const GUESTS: Need[] = [
  { what: 'qemu-system-x86_64', package: 'qemu-system-x86' },
  { what: 'iperf3', package: 'iperf3' },
];

/** Full path of a program on PATH (and in the sbin folders), or null. */
export function findProgram(name: string): string | null {
  if (name.startsWith('/')) return existsSync(name) ? name : null;
  for (const folder of [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin', '/sbin']) {
    const path = `${folder}/${name}`;
    try {
      accessSync(path, constants.X_OK);
      return path;
    } catch {
      // Not here.
    }
  }
  return null;
}

export function missing(needs: Need[]): Need[] {
  return needs.filter((need) => findProgram(need.what) === null);
}

/** Null when everything is there (perhaps only now); else the sentence that says what is missing. */
export function provide(needs: Need[], install: boolean): string | null {
  const lacking = missing(needs);
  if (lacking.length === 0) return null;
  const packages = [...new Set(lacking.map((need) => need.package))];
  if (install && process.getuid?.() === 0 && findProgram('apt-get')) {
    process.stderr.write(`installing ${packages.join(' ')} with apt-get ...\n`);
    installPackages(packages);
    if (missing(needs).length === 0) return null;
  }
  const still = missing(needs);
  return (
    `missing: ${still.map((need) => need.what).join(', ')}; ` +
    `on Debian or Ubuntu: sudo apt-get install ${[...new Set(still.map((need) => need.package))].join(' ')}`
  );
}

const POLICY = '/usr/sbin/policy-rc.d';

/** Installs without starting any service: the benchmark runs its own, private instances. */
function installPackages(packages: string[]): void {
  const ownPolicy = !existsSync(POLICY);
  if (ownPolicy) writeFileSync(POLICY, '#!/bin/sh\nexit 101\n', { mode: 0o755 });
  try {
    const options = { stdio: ['ignore', 'ignore', 'inherit'] as ['ignore', 'ignore', 'inherit'] };
    const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
    spawnSync('apt-get', ['update', '-q'], { ...options, env });
    spawnSync('apt-get', ['install', '-q', '-y', '--no-install-recommends', ...packages], {
      ...options,
      env,
    });
  } finally {
    if (ownPolicy) rmSync(POLICY, { force: true });
  }
}
