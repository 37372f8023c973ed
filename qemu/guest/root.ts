// The guest's root file system: Alpine's own mini root, from its release server or from
// `../shared/alpine/` beside the project, its sum checked; or one made of Debian's busybox-static.

import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { root, SetupError, step } from '../../scripts/steps.mjs';
import { paths } from '../paths.ts';
import type { Entry } from './cpio.ts';
import { unpackPackages } from './debian.ts';
import { untar } from './tar.ts';
import { libraries } from './tools.ts';

const FILE = 'alpine-minirootfs-3.20.3-x86_64.tar.gz';
const SUM = 'd4e6fd67dcf75e40c451560ac7265166c2b72a0f38ddc9aae756a7de3d1efa0c';
const SERVER = 'https://dl-cdn.alpinelinux.org/alpine/v3.20/releases/x86_64';
const DOWNLOAD_SECONDS = 60;

/** @returns Alpine's files, or undefined where it can't be had (the reason is printed) */
export async function alpineRoot(): Promise<Entry[] | undefined> {
  const kept = join(paths.guest, FILE);
  const beside = join(root, '../shared/alpine', FILE);
  for (const file of [kept, beside]) {
    if (!existsSync(file)) continue;
    const data = readFileSync(file);
    if (isRight(data)) return untar(gunzipSync(data));
    process.stdout.write(`! ${file} has not the right sha256 and is not used.\n`);
  }
  let reason = '';
  const data = await step('Alpine root file system (download)', async () => {
    try {
      const signal = AbortSignal.timeout(DOWNLOAD_SECONDS * 1000);
      const response = await fetch(`${SERVER}/${FILE}`, { signal });
      if (!response.ok) reason = `the server answered ${response.status}`;
      else return Buffer.from(await response.arrayBuffer());
    } catch (error) {
      const cause = (error as Error).cause;
      reason = cause instanceof Error ? cause.message : String(error);
    }
    return undefined;
  });
  if (data && isRight(data)) {
    writeFileSync(kept, data);
    return untar(gunzipSync(data));
  }
  if (data) reason = 'the downloaded file has not the right sha256';
  process.stdout.write(`! No Alpine root file system: ${reason}.\n`);
  return undefined;
}

function isRight(data: Buffer): boolean {
  return createHash('sha256').update(data).digest('hex') === SUM;
}

/** @returns a root made of Debian's busybox-static, with a netcat that speaks UDP */
export async function busyboxRoot(): Promise<Entry[]> {
  process.stdout.write("! Guests are built from Debian's busybox-static instead of Alpine.\n");
  const applets = execFileSync(paths.busybox, ['--list-full'], { encoding: 'utf8' });
  const netcat = join(paths.guest, 'netcat');
  if (!existsSync(join(netcat, 'bin/nc.traditional'))) {
    await step('netcat for the guest (Debian)', () =>
      unpackPackages(netcat, ['netcat-traditional', 'libc6']),
    );
  }
  const files = libraries(netcat, 'nc.traditional', 'nc.traditional');
  if (files.length === 0) throw new SetupError('The package netcat-traditional holds no nc.');
  const links = applets
    .split('\n')
    .filter((path) => path !== '' && path !== 'bin/busybox')
    .filter((path) => !files.some((file) => file.path === path));
  const account = Buffer.from('root::0:0:root:/root:/bin/sh\n');
  return [
    ...['proc', 'sys', 'dev', 'tmp', 'run', 'root', 'srv', 'var/log'].map((path): Entry => {
      return { path, type: 'directory', mode: 0o755 };
    }),
    { path: 'bin/busybox', type: 'file', mode: 0o755, data: readFileSync(paths.busybox) },
    ...links.map((path): Entry => ({ path, type: 'symlink', target: '/bin/busybox' })),
    { path: 'etc/passwd', type: 'file', mode: 0o644, data: account },
    ...files,
  ];
}
