// A guest that starts another kernel by itself (kexec): no firmware and no reset of the machine
// comes between, and the new kernel finds the network device as the old one left it.

import { appendFileSync, copyFileSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { cpio } from './guest/cpio.ts';
import { paths } from './paths.ts';
import type { Vm } from './vm.ts';

/** Where the guest has the kernel to start. */
const KERNEL = 'srv/kernel';

/** Packs the guest's own root for the next kernel, without what only makes it large. */
const PACK = [
  'cd /',
  "find . -xdev ! -path './opt*' ! -path './srv/*' ! -path './run/*' >/tmp/files",
  'cpio -o -H newc </tmp/files >/tmp/initrd 2>/dev/null',
].join('\n');

/** @returns a file made in `folder`: the guests' root, and in it a kernel to start */
export function withNextKernel(folder: string): string {
  const file = join(folder, 'root-with-kernel.cpio');
  const data = readFileSync(paths.kernel);
  copyFileSync(paths.initrd, file);
  appendFileSync(file, cpio([{ path: KERNEL, type: 'file', mode: 0o644, data }]));
  return file;
}

/**
 * Starts the guest's other kernel, once per boot of QEMU: that one's root holds no further one.
 * Resolves when it is up.
 */
export async function kexec(vm: Vm): Promise<void> {
  await vm.ok(PACK, 60);
  const before = vm.agent.boots;
  const down = vm.agent.run(`kexec /${KERNEL} /tmp/initrd`, 120).catch(() => undefined);
  // The command comes back only when it failed.
  const result = await Promise.race([vm.booted(before + 1), down]);
  if (result && vm.agent.boots === before) throw new Error(`${vm.name}: ${result.output.trim()}`);
}
