/** Starts that fail or are ended, and ends: no socket file of ours is left, and none of others' removed. */
import { lstatSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it, onTestFinished } from 'vitest';
import { BUILT } from '../support/daemon.ts';
import { ended, ready, startProgram } from '../support/running.ts';
import { until } from '../support/until.ts';
import { testFolder } from '../supervision/folder.ts';

const COMMAND = fileURLToPath(new URL('../../dist/cli.js', import.meta.url));

/** A configuration with everything in `folder`, and a socket for each of the VMs named. */
function configIn(folder: string, vms: string[], workers = 1): string {
  const file = join(folder, 'c.yaml');
  const vm = (name: string, index: number) => [
    name,
    {
      socket: join(folder, `${name}.sock`),
      addresses: [`10.0.${1 + (index >> 7)}.${1 + (index & 127)}`],
    },
  ];
  const config = {
    networks: { lan: { subnet: '10.0.0.0/16', address: '10.0.0.1' } },
    vms: Object.fromEntries(vms.map(vm)),
    datapath: { workers },
    admin: { socket: join(folder, 'admin.sock') },
  };
  writeFileSync(file, JSON.stringify(config));
  return file;
}

const run = (file: string, env = process.env) =>
  startProgram([process.execPath, COMMAND, 'run', '-c', file], { env });

const sockets = (folder: string) => readdirSync(folder).filter((name) => name.endsWith('.sock'));

/** What it logged, in order. */
const messages = (stdout: string) =>
  stdout
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line).msg as string);

/** Somebody else who listens there. */
async function listen(path: string): Promise<void> {
  const server = createServer().listen(path);
  onTestFinished(() => void server.close());
  await new Promise((resolve) => server.once('listening', resolve));
}

/** A `systemd-notify` that keeps what it is told; the environment with it, and what it was told. */
function notified(folder: string) {
  const told = join(folder, 'told');
  writeFileSync(told, '');
  writeFileSync(join(folder, 'systemd-notify'), `#!/bin/sh\necho "$2" >>${told}\n`, {
    mode: 0o755,
  });
  const env = { ...process.env, NOTIFY_SOCKET: '/nowhere', PATH: `${folder}:${process.env.PATH}` };
  return { env, told: () => readFileSync(told, 'utf8').split('\n').filter(Boolean) };
}

describe.skipIf(!BUILT)(`socket files${BUILT ? '' : ' (skipped: dist/ is not built)'}`, () => {
  it.each([1, 2])('a start that fails leaves none, with %i workers', async (workers) => {
    const folder = testFolder();
    const file = configIn(folder, ['a', 'b'], workers);
    await listen(join(folder, 'b.sock'));
    const daemon = run(file);
    await ended(daemon);
    expect(daemon.exit()!.code).toBe(1);
    expect(daemon.stderr()).toMatch(/b\.sock: another process accepts connections/);
    expect(sockets(folder)).toEqual(['b.sock']);
  });

  it('an end removes nothing that took the place of one', async () => {
    const folder = testFolder();
    const daemon = run(configIn(folder, ['web', 'db']));
    await ready(daemon);
    rmSync(join(folder, 'web.sock'));
    await listen(join(folder, 'web.sock'));
    rmSync(join(folder, 'admin.sock'));
    writeFileSync(join(folder, 'admin.sock'), 'precious');
    daemon.child.kill('SIGTERM');
    await ended(daemon);
    expect(daemon.exit()!.code).toBe(0);
    expect(sockets(folder).sort()).toEqual(['admin.sock', 'web.sock']);
    expect(lstatSync(join(folder, 'web.sock')).isSocket()).toBe(true);
    expect(readFileSync(join(folder, 'admin.sock'), 'utf8')).toBe('precious');
  });

  it.each([1, 2])(
    'an end in the midst of the start leaves none, with %i workers',
    async (workers) => {
      const folder = testFolder();
      const vms = Array.from({ length: 600 }, (_, number) => `v${number}`);
      const { env, told } = notified(folder);
      const daemon = run(configIn(folder, vms, workers), env);
      await until('the first socket file', () => sockets(folder).some((name) => name[0] === 'v'));
      daemon.child.kill('SIGTERM');
      await ended(daemon);
      expect(daemon.exit()).toEqual({ code: 0, signal: null });
      expect(sockets(folder)).toEqual([]);
      const logged = messages(daemon.stdout());
      expect(logged.at(-1)).toBe('stopped');
      expect(logged.slice(logged.indexOf('stopping'))).not.toContain('ready');
      await until('systemd to be told', () => told().includes('STOPPING=1'));
      // Unless it was ready before the signal came.
      if (!logged.includes('ready')) expect(told()).toEqual(['STOPPING=1']);
    },
  );
});
