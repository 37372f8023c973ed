// Debian packages as plain archives: downloaded by the system's own apt-get into a folder and
// unpacked beside it, never installed. Works without root where apt has its package lists.

import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { run, SetupError } from '../../scripts/steps.mjs';

/** Options that point apt at lists of our own (see `suiteLists`); empty = the system's. */
type AptOptions = readonly string[];

/**
 * Downloads packages and unpacks them into `folder` (made anew), all into one tree.
 * @throws SetupError in words for a person
 */
export async function unpackPackages(
  folder: string,
  packages: readonly string[],
  options: AptOptions = [],
): Promise<void> {
  rmSync(folder, { recursive: true, force: true });
  const debs = `${folder}.debs`;
  rmSync(debs, { recursive: true, force: true });
  mkdirSync(debs, { recursive: true });
  const name = `download-${folder.split('/').at(-1)}`;
  const args = [...options, 'download', ...packages];
  try {
    await run(name, 'apt-get', args, { cwd: debs });
  } catch (error) {
    if (options.length > 0 || process.getuid?.() !== 0) throw error;
    await run('apt-update', 'apt-get', ['update']);
    await run(name, 'apt-get', args, { cwd: debs });
  }
  for (const file of readdirSync(debs)) {
    await run(`${name}-unpack`, 'dpkg-deb', ['-x', join(debs, file), folder]);
  }
  rmSync(debs, { recursive: true, force: true });
}

/** @returns the real kernel package behind Debian's `linux-image-cloud-amd64` */
export async function kernelPackage(): Promise<string> {
  const ask = () =>
    spawnSync('apt-cache', ['depends', 'linux-image-cloud-amd64'], { encoding: 'utf8' }).stdout;
  let name = /Depends: (linux-image-\S+)/.exec(ask() ?? '')?.[1];
  if (!name && process.getuid?.() === 0) {
    await run('apt-update', 'apt-get', ['update']);
    name = /Depends: (linux-image-\S+)/.exec(ask() ?? '')?.[1];
  }
  if (name) return name;
  throw new SetupError("apt knows no package linux-image-cloud-amd64, the guests' kernel.", [
    'This brings it, on Debian, with the network reachable: sudo apt-get update',
  ]);
}

/**
 * Package lists of another suite of the same Debian archive (such as backports), in a folder of
 * our own: the system's sources stay as they are.
 * @returns options for `unpackPackages`
 */
export async function suiteLists(folder: string, suite: string): Promise<AptOptions> {
  const archive = debianArchive();
  if (!archive) throw new SetupError(`apt's sources name no Debian archive to find ${suite} in.`);
  for (const name of ['lists/partial', 'cache/archives/partial']) {
    mkdirSync(join(folder, name), { recursive: true });
  }
  const list = join(folder, 'sources.list');
  writeFileSync(list, `deb ${archive} ${suite} main\n`);
  const options = [
    ...['-o', `Dir::Etc::SourceList=${list}`, '-o', 'Dir::Etc::SourceParts=/dev/null'],
    ...['-o', `Dir::State::Lists=${resolve(folder, 'lists')}`],
    ...['-o', `Dir::Cache=${resolve(folder, 'cache')}`],
    ...['-o', 'APT::Sandbox::User=root'],
  ];
  if (!existsSync(join(folder, 'done'))) {
    await run(`apt-update-${suite}`, 'apt-get', [...options, 'update']);
    writeFileSync(join(folder, 'done'), '');
  }
  return options;
}

/** @returns the address of the Debian archive that the system's own sources use */
function debianArchive(): string | undefined {
  const format = '$(REPO_URI) $(RELEASE) $(ORIGIN)';
  const args = ['indextargets', '--format', format, 'Created-By: Packages'];
  const codename = debianCodename();
  const lines = execFileSync('apt-get', args, { encoding: 'utf8' }).split('\n');
  return lines.map((line) => line.split(' ')).find((words) => words[1] === codename)?.[0];
}

/** @returns such as `bookworm`; undefined where this is no Debian */
export function debianCodename(): string | undefined {
  const text = existsSync('/etc/os-release') ? readFileSync('/etc/os-release', 'utf8') : '';
  if (!/^ID=debian$/m.test(text)) return undefined;
  return /^VERSION_CODENAME=(\S+)$/m.exec(text)?.[1];
}
