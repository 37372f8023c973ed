// Installs the built project for everybody on this host, as a distribution's package would: the program and the libraries it runs with,
// the systemd unit with its user and folders, the documents. Nothing is started and no configuration is written.
//
//     node scripts/install.mjs [--into FOLDER]     FOLDER instead of /, to make a package of it

import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
} from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { complain, root, SetupError } from './steps.mjs';

/** Where the program lies, and its name among the commands. */
const HOME = '/usr/lib/node_modules/basewire';
const COMMAND = '/usr/bin/basewire';
/** Only for building the addon, which is built. */
const BUILD_ONLY = new Set(['node-addon-api', 'node-gyp']);

/** @returns {Set<string>} every library that the program runs with, and theirs */
function libraries() {
  const found = new Set();
  const add = (manifest) => {
    const { dependencies = {} } = JSON.parse(readFileSync(manifest, 'utf8'));
    for (const name of Object.keys(dependencies)) {
      const own = join(root, 'node_modules', name, 'package.json');
      // What is not there lies inside the library that wants it, and comes with that.
      if (BUILD_ONLY.has(name) || found.has(name) || !existsSync(own)) continue;
      found.add(name);
      add(own);
    }
  };
  add(join(root, 'package.json'));
  return found;
}

/** Lets everybody read what was copied: a clone that was made under umask 077 is its owner's alone, and copies keep modes. */
function open(path) {
  const status = statSync(path);
  chmodSync(path, status.isDirectory() || status.mode & 0o100 ? 0o755 : 0o644);
  if (status.isDirectory()) for (const name of readdirSync(path)) open(join(path, name));
}

/** @param {string} into */
function install(into) {
  for (const built of ['dist/cli.js', 'build/Release/basewire.node', 'node_modules/pino']) {
    if (!existsSync(join(root, built)))
      throw new SetupError(`${built} is missing: the project is not built.`, ['npm run setup']);
  }
  process.umask(0o022);
  const copy = (from, to) => {
    const target = join(into, to);
    mkdirSync(dirname(target), { recursive: true });
    rmSync(target, { recursive: true, force: true });
    cpSync(join(root, from), target, { recursive: true, dereference: true });
    open(target);
  };
  rmSync(join(into, HOME), { recursive: true, force: true });
  for (const part of ['dist', 'build/Release/basewire.node', 'package.json', 'LICENSE'])
    copy(part, join(HOME, part));
  for (const name of libraries()) copy(`node_modules/${name}`, join(HOME, 'node_modules', name));
  chmodSync(join(into, HOME, 'dist/cli.js'), 0o755);
  mkdirSync(join(into, dirname(COMMAND)), { recursive: true });
  rmSync(join(into, COMMAND), { force: true });
  symlinkSync(join(HOME, 'dist/cli.js'), join(into, COMMAND));

  copy('packaging/basewire.service', '/usr/lib/systemd/system/basewire.service');
  copy('packaging/basewire.sysusers', '/usr/lib/sysusers.d/basewire.conf');
  copy('packaging/basewire.tmpfiles', '/usr/lib/tmpfiles.d/basewire.conf');
  copy('README.md', '/usr/share/doc/basewire/README.md');
  copy('SECURITY.md', '/usr/share/doc/basewire/SECURITY.md');
  copy('docs', '/usr/share/doc/basewire/docs');
  copy('qemu/guest/basewire-control', '/usr/share/basewire/basewire-control');
}

try {
  const { values } = parseArgs({ options: { into: { type: 'string', default: '/' } } });
  const into = resolve(values.into);
  try {
    install(into);
  } catch (error) {
    if (error.code !== 'EACCES' && error.code !== 'EPERM') throw error;
    throw new SetupError(`${error.path}: not allowed.`, ['run it as root, or with --into FOLDER']);
  }
  process.stdout.write(`Installed into ${into}: ${COMMAND}, and the unit basewire.service.
Next, as root:
  systemd-sysusers && systemd-tmpfiles --create
  write /etc/basewire/basewire.yaml (README.md has one), then: basewire check --config /etc/basewire/basewire.yaml
  systemctl daemon-reload && systemctl enable --now basewire
  systemctl restart basewire      where one was installed before: until then that one runs, of files that are replaced now
`);
} catch (error) {
  complain(error);
  process.exitCode = 1;
}
