// The guests' kernel: Debian's cloud kernel, taken from its packages without installing them, and
// the virtio modules that a network device needs, in the order in which they load. A module that
// the packages lack is built into that kernel, as most of these are since Debian 13.

import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { execFileSync } from 'node:child_process';
import { basename, dirname, join } from 'node:path';
import { SetupError, step } from '../../scripts/steps.mjs';
import { paths } from '../paths.ts';
import type { Entry } from './cpio.ts';
import { kernelPackages, unpackPackages } from './debian.ts';

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
  // The kernel comes into the folder last, so where it is the modules are.
  if (!existsSync(paths.kernel)) await step('guest kernel (Debian)', () => take(folder));
  const modules = MODULES.filter((name) => existsSync(join(folder, `${name}.ko`)));
  const order = Buffer.from(modules.map((name) => `${name}\n`).join(''));
  return [
    ...modules.map((name) => module(folder, name)),
    { path: 'lib/modules/order', type: 'file', mode: 0o644, data: order },
  ];
}

function module(folder: string, name: string): Entry {
  const data = readFileSync(join(folder, `${name}.ko`));
  return { path: `lib/modules/${name}.ko`, type: 'file', mode: 0o644, data };
}

async function take(folder: string): Promise<void> {
  const unpacked = join(paths.guest, 'kernel-package');
  await unpackPackages(unpacked, await kernelPackages());
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  const { image, modules } = partsOf(unpacked);
  for (const file of modules) {
    const to = join(folder, basename(file, '.xz'));
    if (file.endsWith('.xz')) decompress(file, to);
    else copyFileSync(file, to);
  }
  copyFileSync(image, paths.kernel);
  rmSync(unpacked, { recursive: true, force: true });
}

/** What there is of a kernel and of our modules in a tree of unpacked packages: paths. */
export function partsOf(tree: string): { image: string; modules: string[] } {
  // Debian 12 has modules under lib, 13 under usr/lib; 14 has the kernel beside them, not in boot.
  const folders = ['boot', 'usr/lib/modules', 'lib/modules'].map((path) => join(tree, path));
  const files = folders
    .filter((path) => existsSync(path))
    .flatMap((path) =>
      readdirSync(path, { recursive: true, encoding: 'utf8' }).map((file) => join(path, file)),
    );
  const image = files.find((file) => basename(file).startsWith('vmlinuz'));
  if (!image) throw new SetupError('The kernel packages hold no vmlinuz.');
  const modules = MODULES.flatMap((name) => {
    const file = files.find((path) => new RegExp(`/${name}\\.ko(\\.xz)?$`).test(path));
    return file === undefined ? [] : [file];
  });
  return { image, modules };
}

function decompress(from: string, to: string): void {
  execFileSync('sh', ['-c', 'xz -dc "$1" >"$2"', 'sh', from, to]);
}
