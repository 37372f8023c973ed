// Brings a fresh clone to the point where the demo and the tests can run: system packages, the
// npm packages of the lock file, the addon, `dist/`, the guest image. Each step looks first and
// is silent when there is nothing to do.

import { existsSync, mkdirSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { systemPackages, which } from './packages.mjs';
import { root, run, SetupError, step } from './steps.mjs';

const [major, minor] = process.versions.node.split('.').map(Number);

/** @param {{guests: boolean, tests: boolean}} what guests: QEMU and its image; tests: all for tests */
export async function setup({ guests, tests }) {
  if (process.platform !== 'linux' || process.arch !== 'x64') {
    throw new SetupError(
      `basewire runs on Linux x86_64; this is ${process.platform} ${process.arch}.`,
    );
  }
  if (major < 20 || (major === 20 && minor < 19)) {
    throw new SetupError(`basewire needs Node 20.19 or later; this is ${process.version}.`);
  }
  const groups = addonIsFresh() ? [] : ['build'];
  if (guests) groups.push('guests');
  if (tests && guests) groups.push('tests');
  await systemPackages(groups);
  await npmPackages();
  await addon();
  await compiled();
  if (guests && which('qemu-system-x86_64')) await guestImage(tests);
}

/** `npm ci`, when what is installed is not what the lock file says. */
async function npmPackages() {
  if (installedAsLocked()) return;
  if (!which('npm')) {
    throw new SetupError('npm lacks on this machine (it belongs to Node).', [
      'This brings it: apt-get install npm, or Node from nodejs.org',
    ]);
  }
  await step('npm packages (npm ci)', () =>
    run('npm-ci', 'npm', ['ci', '--no-audit', '--no-fund', '--ignore-scripts']),
  );
}

function installedAsLocked() {
  const locked = packagesOf(join(root, 'package-lock.json'));
  const installed = packagesOf(join(root, 'node_modules/.package-lock.json'));
  if (!locked || !installed) return false;
  return Object.entries(locked).every(
    ([path, entry]) => path === '' || entry.optional || installed[path]?.version === entry.version,
  );
}

function packagesOf(file) {
  try {
    return JSON.parse(readFileSync(file, 'utf8')).packages;
  } catch {
    return undefined;
  }
}

/** Whether the compiled addon is newer than every source of it. */
function addonIsFresh() {
  const built = newest(join(root, 'build/Release'), '.node');
  return built > Math.max(newest(join(root, 'native'), ''), time(join(root, 'binding.gyp')));
}

async function addon() {
  if (addonIsFresh()) return;
  await step('the native addon', () =>
    run('build-native', process.execPath, [join(root, 'scripts/build-native.mjs')]),
  );
}

/** `dist/`, when a source is newer than the last compilation. */
async function compiled() {
  const built = time(join(root, 'dist/cli.js'));
  const sources = Math.max(
    newest(join(root, 'src'), ''),
    time(join(root, 'tsconfig.json')),
    time(join(root, 'tsconfig.build.json')),
    time(join(root, 'package.json')),
  );
  if (built > sources) return;
  const tsc = join(root, 'node_modules/typescript/bin/tsc');
  await step('dist/ (TypeScript)', () =>
    run('build-ts', process.execPath, [tsc, '-p', 'tsconfig.build.json']),
  );
}

/** Kernel and root file system of the guests (and, for tests, a second QEMU): see qemu/guest/. */
async function guestImage(tests) {
  mkdirSync(join(root, '.cache'), { recursive: true });
  const builder = join(root, 'qemu/guest/build.ts');
  const args = ['--import', 'tsx', builder, ...(tests ? ['--tests'] : [])];
  const { spawnSync } = await import('node:child_process');
  // It shows its own steps.
  const result = spawnSync(process.execPath, args, { cwd: root, stdio: 'inherit' });
  if (result.status !== 0) throw new SetupError('The guest image could not be built (see above).');
}

function time(file) {
  return existsSync(file) ? statSync(file).mtimeMs : 0;
}

/** @returns {number} the newest change under a folder of files whose name ends so; 0 = none */
function newest(folder, end) {
  if (!existsSync(folder)) return 0;
  let last = 0;
  for (const entry of readdirSync(folder, { withFileTypes: true, recursive: true })) {
    if (!entry.isFile() || !entry.name.endsWith(end)) continue;
    last = Math.max(last, time(join(entry.parentPath ?? entry.path, entry.name)));
  }
  return last;
}
