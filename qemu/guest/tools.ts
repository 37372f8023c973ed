// Programs that Alpine's mini root lacks and tests want (iperf3, ethtool): Debian's, with their
// own C library beside them, in /opt/tools of the guest; and kexec, compiled from the C file here.
// And the host's toolbox: a static busybox.

import { copyFileSync, existsSync, readdirSync, readFileSync, realpathSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { root, run, step } from '../../scripts/steps.mjs';
import { paths } from '../paths.ts';
import type { Entry } from './cpio.ts';
import { unpackPackages, withLibraries } from './debian.ts';

const PACKAGES = ['ethtool', 'iperf3'];
const LIBRARIES =
  /^(ld-linux-x86-64\.so\.2|lib(c|m|mnl|iperf|sctp|ssl|crypto|z|zstd|pthread|dl|rt|util)\.so\.[\d.]+)$/;
const FOLDERS = ['usr/lib/x86_64-linux-gnu', 'lib/x86_64-linux-gnu'];

/** @returns the extra programs as entries of the guest's root; none (and says so) without them */
export async function tools(): Promise<Entry[]> {
  const tree = join(paths.guest, 'tools');
  try {
    if (!existsSync(tree)) {
      await step('guest tools: iperf3, ethtool (Debian)', () =>
        unpackPackages(tree, withLibraries(PACKAGES)),
      );
    }
    return [...libraries(tree, 'iperf3', 'iperf3'), ...libraries(tree, 'ethtool', 'ethtool')];
  } catch (error) {
    rmSync(tree, { recursive: true, force: true });
    process.stdout.write(`! Guests go without iperf3 and ethtool: ${(error as Error).message}\n`);
    return [];
  }
}

/** @returns `kexec` as an entry of the guest's root; none (and says so) without a C compiler */
export async function kexec(): Promise<Entry[]> {
  const program = join(paths.guest, 'kexec');
  const source = join(root, 'qemu/guest/kexec.c');
  try {
    await run('guest-kexec', process.env.CC ?? 'cc', [
      '-O2',
      '-static',
      '-s',
      '-o',
      program,
      source,
    ]);
    return [{ path: 'usr/sbin/kexec', type: 'file', mode: 0o755, data: readFileSync(program) }];
  } catch (error) {
    process.stdout.write(`! Guests go without kexec: ${(error as Error).message}\n`);
    return [];
  }
}

/**
 * A program of an unpacked package tree, with the tree's libraries and a wrapper in /usr/bin that
 * starts it by the tree's own loader (the guest's C library is another one).
 * @param name what the guest calls it @param program its file name in the package
 */
export function libraries(tree: string, name: string, program: string): Entry[] {
  const binary = ['usr/bin', 'bin', 'usr/sbin', 'sbin']
    .map((folder) => join(tree, folder, program))
    .find((file) => existsSync(file));
  if (!binary) return [];
  const entries = new Map<string, Entry>();
  const add = (path: string, data: Uint8Array): void => {
    entries.set(path, { path, type: 'file', mode: 0o755, data });
  };
  for (const folder of FOLDERS.map((folder) => join(tree, folder))) {
    if (!existsSync(folder)) continue;
    for (const file of readdirSync(folder).filter((file) => LIBRARIES.test(file))) {
      add(`opt/tools/lib/${file}`, readFileSync(realpathSync(join(folder, file))));
    }
  }
  add(`opt/tools/bin/${name}`, readFileSync(binary));
  const start = '/opt/tools/lib/ld-linux-x86-64.so.2 --library-path /opt/tools/lib';
  add(`usr/bin/${name}`, Buffer.from(`#!/bin/sh\nexec ${start} /opt/tools/bin/${name} "$@"\n`));
  return [...entries.values()];
}

/** Makes `paths.busybox`: the tools of the test LAN's far side, whatever the host has. */
export async function toolbox(): Promise<void> {
  if (existsSync(paths.busybox)) return;
  const tree = join(paths.guest, 'busybox-package');
  await step('busybox-static (Debian)', () => unpackPackages(tree, ['busybox-static']));
  const file = ['bin/busybox', 'usr/bin/busybox'].find((path) => existsSync(join(tree, path)));
  if (file) copyFileSync(join(tree, file), paths.busybox);
  rmSync(tree, { recursive: true, force: true });
}
