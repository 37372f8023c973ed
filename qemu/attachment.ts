// QEMU's arguments that attach a guest to a base: exactly what `basewire qemu-args` prints, so
// that what we tell people is what we test; plus device properties for guests with features off.

import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { root } from '../scripts/steps.mjs';
import type { Qemu } from './qemu.ts';

/** The built command line. */
export const BASEWIRE = join(root, 'dist/cli.js');

/** How a guest is attached. */
export interface Attachment {
  /** The base's configuration file, and the VM's name in it. */
  config: string;
  vm: string;
  qemu: Qemu;
  /** Memory in MiB; 256 unless told. */
  memory?: number;
  /** Queue pairs; 1 unless told. */
  queues?: number;
  /** Which of the VM's sockets, from 1; 1 unless told. */
  socket?: number;
  /** Further properties of the device, such as `csum=off`. */
  device?: readonly string[];
  /** Further properties of the memory, such as `hugetlb=on`. */
  memoryBackend?: readonly string[];
}

/** @returns the arguments, for `VmOptions.attachment` */
export function attachment(options: Attachment): string[] {
  const { config, vm, qemu, memory = 256, queues = 1, socket = 1 } = options;
  const args = [
    ...['qemu-args', vm, '--config', config, '--qemu-version', qemu.version.join('.')],
    ...['--no-kvm', '--memory', `${memory}M`, '--queues', `${queues}`],
    ...['--socket', `${socket}`],
  ];
  const printed = execFileSync(process.execPath, [BASEWIRE, ...args], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const words = printed.trim().split(/\s+/);
  extend(words, 'virtio-net-pci', options.device ?? []);
  extend(words, 'memory-backend-memfd', options.memoryBackend ?? []);
  return words;
}

/** Adds properties to the option of this kind. */
function extend(words: string[], kind: string, properties: readonly string[]): void {
  const at = words.findIndex((word) => word.startsWith(`${kind},`));
  if (at < 0) throw new Error(`basewire qemu-args printed no ${kind}:\n${words.join(' ')}`);
  words[at] = [words[at], ...properties].join(',');
}
