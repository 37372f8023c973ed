/** `npm run install-system`: what it puts into a folder is all that the program needs, and runs from there. */
import { spawnSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  lstatSync,
  mkdtempSync,
  readdirSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { BUILT } from '../support/daemon.ts';
import { ended, ready, startProgram } from '../support/running.ts';

const PROJECT = fileURLToPath(new URL('../..', import.meta.url));
const HOME = '/usr/lib/node_modules/basewire';
/** What is installed, and what does it. */
const PARTS = [
  'build/Release/basewire.node',
  'dist',
  'docs',
  'LICENSE',
  'package.json',
  'packaging',
  'qemu/guest/basewire-control',
  'README.md',
  'scripts',
  'SECURITY.md',
];

describe.skipIf(!BUILT)(`install-system${BUILT ? '' : ' (not built)'}`, () => {
  let folder: string;
  let into: string;
  const install = () =>
    spawnSync(process.execPath, [join(PROJECT, 'scripts/install.mjs'), '--into', into], {
      encoding: 'utf8',
    });
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'basewire-install-'));
    into = join(folder, 'root');
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  test('installs, also over what is there, and says what to do next', () => {
    for (let round = 0; round < 2; round++) {
      const { status, stdout, stderr } = install();
      expect([status, stderr]).toEqual([0, '']);
      expect(stdout).toContain('systemctl daemon-reload && systemctl enable --now basewire');
      // Of a unit that runs already `enable --now` starts nothing.
      expect(stdout).toMatch(/^ {2}systemctl restart basewire /m);
    }
    expect(readlinkSync(join(into, 'usr/bin/basewire'))).toBe(`${HOME}/dist/cli.js`);
    for (const file of [
      'usr/lib/systemd/system/basewire.service',
      'usr/lib/sysusers.d/basewire.conf',
      'usr/lib/tmpfiles.d/basewire.conf',
      'usr/share/doc/basewire/README.md',
      'usr/share/doc/basewire/SECURITY.md',
      'usr/share/doc/basewire/docs/configuration.md',
      'usr/share/basewire/basewire-control',
    ])
      expect(existsSync(join(into, file)), file).toBe(true);
    expect(existsSync(join(into, HOME, 'node_modules/node-gyp'))).toBe(false);
  });

  test('what only its owner may read (umask 077) everybody may where it is installed', () => {
    const clone = join(folder, 'clone');
    for (const part of PARTS) cpSync(join(PROJECT, part), join(clone, part), { recursive: true });
    symlinkSync(join(PROJECT, 'node_modules'), join(clone, 'node_modules'));
    spawnSync('chmod', ['-R', 'go=', clone]);
    const target = join(folder, 'for-all');
    const words = [join(clone, 'scripts/install.mjs'), '--into', target];
    expect(spawnSync(process.execPath, words).status).toBe(0);
    const closed = readdirSync(target, { recursive: true, encoding: 'utf8' }).filter((name) => {
      const status = lstatSync(join(target, name));
      const wanted = status.isDirectory() ? 0o5 : 0o4;
      return !status.isSymbolicLink() && (status.mode & wanted) !== wanted;
    });
    expect(closed).toEqual([]);
    expect(statSync(join(target, HOME, 'dist/cli.js')).mode & 0o777).toBe(0o755);
  });

  test('the installed program checks a configuration and serves', async () => {
    const file = join(folder, 'base.yaml');
    const config = {
      networks: { lan: { subnet: '10.77.0.0/24', address: '10.77.0.1' } },
      vms: { web: { socket: join(folder, 'web.sock'), addresses: ['10.77.0.10'] } },
      admin: { socket: join(folder, 'admin.sock') },
    };
    writeFileSync(file, JSON.stringify(config));
    // By itself, as the unit does it: from another folder, with the system's node.
    const cli = join(into, HOME, 'dist/cli.js');
    const path = `${join(process.execPath, '..')}:/usr/bin:/bin`;
    const options = { cwd: '/', env: { PATH: path } };
    const check = spawnSync(cli, ['check', '--config', file], { ...options, encoding: 'utf8' });
    expect([check.status, check.stderr]).toEqual([0, '']);
    const daemon = startProgram([cli, 'run', '--config', file], options);
    await ready(daemon);
    expect(existsSync(join(folder, 'web.sock'))).toBe(true);
    daemon.child.kill('SIGTERM');
    expect(await ended(daemon)).toEqual({ code: 0, signal: null });
  });

  test('a folder that is not ours is named', () => {
    into = '/sys/basewire';
    const { status, stderr } = install();
    expect(status).toBe(1);
    expect(stderr).toMatch(
      /\/sys\/basewire.*: not allowed\.\nrun it as root, or with --into FOLDER/,
    );
  });
});
