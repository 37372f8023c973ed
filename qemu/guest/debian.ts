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

/**
 * @returns the packages behind Debian's `linux-image-cloud-amd64`: the kernel's own, and from
 *   Debian 14 on those of which that consists
 */
export async function kernelPackages(): Promise<string[]> {
  const ask = () => depends('linux-image-cloud-amd64', /^linux-image-/)[0];
  let name = ask();
  if (!name && process.getuid?.() === 0) {
    await run('apt-update', 'apt-get', ['update']);
    name = ask();
  }
  if (name) return [name, ...depends(name, /^linux-(binary|modules)-/)];
  throw new SetupError("apt knows no package linux-image-cloud-amd64, the guests' kernel.", [
    'This brings it, on Debian, with the network reachable: sudo apt-get update',
  ]);
}

/** @returns packages with all libraries that they depend on, whatever this Debian calls those */
export function withLibraries(packages: readonly string[]): string[] {
  const all = new Set(packages);
  // What is added while we go is looked at, too.
  for (const name of all) for (const library of depends(name, /^z?lib/)) all.add(library);
  return [...all];
}

/** The packages of such names that a package depends on. */
function depends(name: string, names: RegExp): string[] {
  const { stdout } = spawnSync('apt-cache', ['depends', name], { encoding: 'utf8' });
  const all = [...(stdout ?? '').matchAll(/Depends: (\S+)/g)].map((match) => match[1]!);
  return all.filter((one) => names.test(one));
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
