// The system's packages: which programs set-up looks for, which Debian package brings each, and
// how they are installed when we may (root, apt-get) or asked for when we may not.

import { accessSync, constants, existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { run, SetupError, step } from './steps.mjs';

/** @param {string} program @returns {string | undefined} its path, as a shell would find it */
export function which(program) {
  const folders = `${process.env.PATH ?? ''}${delimiter}/usr/sbin${delimiter}/sbin`.split(
    delimiter,
  );
  for (const folder of folders) {
    const path = join(folder, program);
    try {
      accessSync(path, constants.X_OK);
      return path;
    } catch {}
  }
  return undefined;
}

/** What each program is for; `needed` = nothing works without it, else its part is left out. */
const wanted = {
  build: [
    { program: 'g++', package: 'g++', for: 'to compile the addon', needed: true },
    { program: 'make', package: 'make', for: 'to compile the addon', needed: true },
    {
      program: 'python3',
      package: 'python3',
      for: 'to compile the addon (node-gyp)',
      needed: true,
    },
  ],
  guests: [
    {
      program: 'qemu-system-x86_64',
      package: 'qemu-system-x86',
      for: 'to run guests',
      needed: false,
    },
    { program: 'dpkg-deb', package: 'dpkg', for: "to unpack the guests' kernel", needed: false },
    { program: 'xz', package: 'xz-utils', for: 'to unpack kernel modules', needed: false },
    { program: 'ip', package: 'iproute2', for: 'the LAN in a network namespace', needed: false },
  ],
  tests: [
    {
      program: 'dpdk-testpmd',
      package: 'dpdk-dev',
      for: 'the second real front-end in tests',
      needed: false,
    },
  ],
};

export const isRoot = process.getuid?.() === 0;

/**
 * Makes sure of the programs of the groups; installs what lacks when root.
 * @param {('build' | 'guests' | 'tests')[]} groups
 * @throws {SetupError} when a needed one lacks and can't be installed
 */
export async function systemPackages(groups) {
  const missing = groups.flatMap((group) => wanted[group]).filter((want) => !which(want.program));
  if (missing.length === 0) return;
  const names = [...new Set(missing.map((want) => want.package))];
  const command = `apt-get install -y --no-install-recommends ${names.join(' ')}`;
  if (isRoot && which('apt-get')) {
    try {
      await step(`system packages: ${names.join(', ')}`, () => install(names));
    } catch (error) {
      explain(missing, `apt-get install -y ${names.join(' ')}`, error);
    }
    return;
  }
  const why = isRoot ? 'there is no apt-get here' : 'not run as root';
  explain(missing, isRoot ? undefined : `sudo ${command}`, new SetupError(why));
}

async function install(names) {
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  const args = ['-o', 'DPkg::Lock::Timeout=300', 'install', '-y', '--no-install-recommends'];
  try {
    await run('apt-install', 'apt-get', [...args, ...names], { env });
  } catch {
    // The lists may be old or absent (a fresh container has none).
    await run('apt-update', 'apt-get', ['update'], { env });
    await run('apt-install', 'apt-get', [...args, ...names], { env });
  }
}

/** Says what lacks, for what, and what brings it; throws only if something needed is among it. */
function explain(missing, command, cause) {
  const lines = missing
    .filter((want) => !which(want.program))
    .map((want) => `    ${want.program} (package ${want.package}) ${want.for}`);
  if (lines.length === 0) return;
  const reason = cause instanceof SetupError ? [cause.message, ...cause.remedy] : [String(cause)];
  const remedy = [...lines, ...(command ? [`This brings it: ${command}`] : [])];
  if (missing.some((want) => want.needed && !which(want.program))) {
    throw new SetupError('Something lacks on this machine:', [...remedy, 'Why:', ...reason]);
  }
  process.stdout.write(`! Left out, because it lacks on this machine (${reason[0]}):\n`);
  for (const line of remedy) process.stdout.write(`${line}\n`);
}

/** Node's own C headers where they lie beside the running `node`, so that nothing is downloaded. */
export function nodeHeaders() {
  const prefix = join(process.execPath, '..', '..');
  return existsSync(join(prefix, 'include/node/node_api.h')) ? prefix : undefined;
}
