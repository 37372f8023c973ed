// Suites of tests with real guests: what they need of the machine is looked at once, and a test
// whose needs are not met is skipped by name with the reason.

import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { beforeEach, describe } from 'vitest';
import { paths } from '../../qemu/paths.ts';
import { newerQemu, systemQemu } from '../../qemu/qemu.ts';
import { isRoot, which } from '../../scripts/packages.mjs';
import { BUILT } from '../support/daemon.ts';

/** What a suite may need of the machine. */
export type Need = 'qemu' | 'ipxe' | 'guests' | 'newerQemu' | 'root' | 'dpdk' | 'libvirt';

const lacking: Record<Need, () => string | undefined> = {
  ipxe: () =>
    existsSync('/usr/lib/ipxe/qemu') ? undefined : 'no iPXE option ROMs (package ipxe-qemu)',
  qemu: () => (systemQemu() ? undefined : 'no QEMU (package qemu-system-x86)'),
  guests: () => {
    if (!systemQemu()) return 'no QEMU (package qemu-system-x86)';
    if (!existsSync(paths.initrd)) return 'no guest image (npm run setup makes it)';
    return undefined;
  },
  newerQemu: () =>
    newerQemu() ? undefined : "no second QEMU (set-up takes it from Debian's backports)",
  root: () => {
    if (!isRoot) return 'not run as root: no LAN in a network namespace';
    return which('ip') ? undefined : 'no program `ip` (package iproute2)';
  },
  dpdk: () => (which('dpdk-testpmd') ? undefined : 'no dpdk-testpmd (package dpdk-dev)'),
  libvirt: () => {
    if (!which('virt-qemu-run')) return 'no virt-qemu-run (package libvirt-daemon)';
    return libvirtGroup() ? undefined : 'no group of libvirt (package libvirt-daemon-system)';
  },
};

/** @returns the group of libvirt's QEMU, on Debian or elsewhere; undefined where there is none */
export function libvirtGroup(): string | undefined {
  const exists = (name: string) => spawnSync('getent', ['group', name]).status === 0;
  return ['libvirt-qemu', 'qemu'].find(exists);
}

/**
 * A describe block that needs something of the machine. `body` gets whether it can run, for its
 * beforeAll; its tests are skipped with the reason otherwise.
 */
export function suite(name: string, needs: Need[], body: (can: boolean) => void): void {
  const reasons = needs.map((need) => lacking[need]()).filter((reason) => reason !== undefined);
  if (!BUILT) reasons.push('dist/ is not built (npm run build makes it)');
  const reason = reasons.join('; ');
  describe(name, () => {
    beforeEach((context) => context.skip(reason !== '', reason));
    body(reason === '');
  });
}
