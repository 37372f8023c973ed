// What the guest builder takes from kernel packages, laid out as the Debian releases have them.

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { partsOf } from '../../qemu/guest/kernel.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'basewire-kernel-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

/** Makes files, and says what is taken of them. */
function taken(...files: string[]): { image: string; modules: string[] } {
  for (const file of files) {
    mkdirSync(dirname(join(folder, file)), { recursive: true });
    writeFileSync(join(folder, file), '');
  }
  const { image, modules } = partsOf(folder);
  return { image: within(image), modules: modules.map(within) };
}

function within(file: string): string {
  return file.slice(folder.length + 1);
}

test('Debian 12: the kernel in boot, all modules under lib', () => {
  const modules = 'lib/modules/6.1.0-37-cloud-amd64/kernel';
  const files = [
    'boot/vmlinuz-6.1.0-37-cloud-amd64',
    `${modules}/drivers/net/net_failover.ko`,
    `${modules}/drivers/net/virtio_net.ko`,
    `${modules}/drivers/virtio/virtio_pci.ko`,
    `${modules}/drivers/virtio/virtio_ring.ko`,
    `${modules}/net/core/failover.ko`,
    `${modules}/net/vmw_vsock/vmw_vsock_virtio_transport.ko`,
  ];
  const { image, modules: found } = taken(...files);
  expect(image).toBe(files[0]);
  // In the order in which they load.
  expect(found.map((file) => /(\w+)\.ko$/.exec(file)?.[1])).toEqual([
    ...['virtio_ring', 'virtio_pci', 'failover', 'net_failover', 'virtio_net'],
  ]);
});

test('Debian 13: virtio is built into the kernel, the rest compressed under usr/lib', () => {
  const modules = 'usr/lib/modules/6.12.117+deb13-cloud-amd64/kernel';
  const files = [
    'boot/vmlinuz-6.12.117+deb13-cloud-amd64',
    `${modules}/net/core/failover.ko.xz`,
    `${modules}/drivers/net/net_failover.ko.xz`,
    `${modules}/drivers/net/virtio_net.ko.xz`,
  ];
  expect(taken(...files)).toEqual({ image: files[0], modules: files.slice(1) });
});

test('Debian 14: the kernel lies beside its modules, in packages of their own', () => {
  const release = 'usr/lib/modules/7.2.13+deb14-cloud-amd64';
  const files = [`${release}/vmlinuz`, `${release}/kernel/drivers/net/virtio_net.ko.xz`];
  expect(taken(...files)).toEqual({ image: files[0], modules: files.slice(1) });
});

test('a package without a kernel is said', () => {
  expect(() => taken('usr/share/doc/linux-image-cloud-amd64/copyright')).toThrow(/no vmlinuz/);
});
