// The guests' kernel: Debian's cloud kernel, taken from its package without installing it, and
// the virtio modules that a network device needs, in the order in which they load.

import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { execFileSync } from 'node:child_process';
import { dirname, join } from 'node:path';
import { SetupError, step } from '../../scripts/steps.mjs';
import { paths } from '../paths.ts';
import type { Entry } from './cpio.ts';
import { kernelPackage, unpackPackages } from './debian.ts';

const MODULES = [
  'virtio_ring',
  'virtio',
  'virtio_pci_legacy_dev',
  'virtio_pci_modern_dev',
  'virtio_pci',
  'failover',
  'net_failover',
  'virtio_net',
];

/** Makes `paths.kernel` and the modules beside it; @returns the modules as entries of the root */
export async function kernel(): Promise<Entry[]> {
  const folder = dirname(paths.kernel);
  const whole = MODULES.every((name) => existsSync(join(folder, `${name}.ko`)));
  if (!whole || !existsSync(paths.kernel)) await step('guest kernel (Debian)', () => take(folder));
  const order = Buffer.from(`${MODULES.join('\n')}\n`);
  return [
    ...MODULES.map((name) => module(folder, name)),
    { path: 'lib/modules/order', type: 'file', mode: 0o644, data: order },
  ];
}

function module(folder: string, name: string): Entry {
  const data = readFileSync(join(folder, `${name}.ko`));
  return { path: `lib/modules/${name}.ko`, type: 'file', mode: 0o644, data };
}

async function take(folder: string): Promise<void> {
  const unpacked = join(paths.guest, 'kernel-package');
  await unpackPackages(unpacked, [await kernelPackage()]);
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  const boot = join(unpacked, 'boot');
  const image = readdirSync(boot).find((name) => name.startsWith('vmlinuz'));
  if (!image) throw new SetupError('The kernel package holds no boot/vmlinuz-*.');
  // Debian 13 has its files under usr/lib, Debian 12 under lib.
  const tree = ['usr/lib/modules', 'lib/modules']
    .map((path) => join(unpacked, path))
    .find((path) => existsSync(path));
  if (!tree) throw new SetupError('The kernel package holds no lib/modules.');
  const files = readdirSync(tree, { recursive: true, encoding: 'utf8' });
  for (const name of MODULES) {
    const file = files.find((path) => new RegExp(`/${name}\\.ko(\\.xz)?$`).test(path));
    if (!file) throw new SetupError(`The kernel package holds no module ${name}.`);
    if (file.endsWith('.xz')) decompress(join(tree, file), join(folder, `${name}.ko`));
    else copyFileSync(join(tree, file), join(folder, `${name}.ko`));
  }
  copyFileSync(join(boot, image), paths.kernel);
  rmSync(unpacked, { recursive: true, force: true });
}

function decompress(from: string, to: string): void {
  execFileSync('sh', ['-c', 'xz -dc "$1" >"$2"', 'sh', from, to]);
}
