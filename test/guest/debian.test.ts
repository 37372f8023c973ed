// Which packages the guest builder asks for, with what `apt-cache depends` says on each Debian.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { kernelPackages, withLibraries } from '../../qemu/guest/debian.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'basewire-debian-'));
  vi.stubEnv('PATH', `${folder}:${process.env.PATH}`);
});
afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(folder, { recursive: true, force: true });
});

/** Puts an apt-cache in front of the system's that knows these packages and what they depend on. */
function aptKnows(packages: Record<string, string[]>): void {
  const cases = Object.entries(packages).map(([name, depends]) => {
    const lines = [name, ...depends.map((one) => `  Depends: ${one}`)];
    return `${name}) cat <<'END'\n${lines.join('\n')}\nEND\n;;`;
  });
  const script = `#!/bin/sh\ncase $2 in\n${cases.join('\n')}\nesac\n`;
  writeFileSync(join(folder, 'apt-cache'), script, { mode: 0o755 });
}

test('the kernel up to Debian 13 is one package', async () => {
  const name = 'linux-image-6.12.117+deb13-cloud-amd64';
  aptKnows({
    'linux-image-cloud-amd64': [name],
    [name]: ['kmod', 'linux-base', '|initramfs-tools'],
  });
  expect(await kernelPackages()).toEqual([name]);
});

test('the kernel of Debian 14 is several packages', async () => {
  const kernel = (part: string) => `linux-${part}-7.2.13+deb14-cloud-amd64`;
  aptKnows({
    'linux-image-cloud-amd64': ['linux-base-cloud-amd64', kernel('image')],
    [kernel('image')]: ['dracut', kernel('base'), kernel('binary'), kernel('modules')],
  });
  expect(await kernelPackages()).toEqual(['image', 'binary', 'modules'].map(kernel));
});

test('libraries come by the names that this Debian has for them', () => {
  aptKnows({
    iperf3: ['debconf', 'adduser', 'libc6', 'libiperf0'],
    libiperf0: ['libc6', 'libsctp1', 'libssl3t64'],
    libssl3t64: ['libc6', 'libzstd1', 'zlib1g', 'openssl-provider-legacy'],
    libc6: ['libgcc-s1'],
    'libgcc-s1': ['gcc-14-base', 'libc6'],
  });
  expect(withLibraries(['iperf3']).sort()).toEqual([
    'iperf3',
    'libc6',
    'libgcc-s1',
    'libiperf0',
    'libsctp1',
    'libssl3t64',
    'libzstd1',
    'zlib1g',
  ]);
});
