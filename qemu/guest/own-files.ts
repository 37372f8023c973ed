// The project's own files of the guest: init's table, the scripts in `files/`, the management
// guest's `basewire-control`.

import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { root } from '../../scripts/steps.mjs';
import type { Entry } from './cpio.ts';

const HERE = join(root, 'qemu/guest');

/** @returns entries that go over those of the root file system */
export function ownFiles(): Entry[] {
  const scripts = readdirSync(join(HERE, 'files')).filter((name) => name !== 'inittab');
  return [
    { path: 'init', type: 'symlink', target: '/sbin/init' },
    file('etc/inittab', 'files/inittab', 0o644),
    file('usr/sbin/basewire-control', 'basewire-control', 0o755),
    ...scripts.map((name) => file(`usr/lib/basewire/${name}`, `files/${name}`, 0o755)),
  ];
}

function file(path: string, source: string, mode: number): Entry {
  return { path, type: 'file', mode, data: readFileSync(join(HERE, source)) };
}
