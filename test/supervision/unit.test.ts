/** The systemd unit: systemd accepts every line, its rating stays good, and what the daemon needs is not taken away. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, test } from 'vitest';

const UNIT = readFileSync(
  fileURLToPath(new URL('../../packaging/basewire.service', import.meta.url)),
  'utf8',
);
const folder = mkdtempSync(join(tmpdir(), 'basewire-unit-'));
const file = join(folder, 'basewire.service');
// The program is not installed where the tests run.
writeFileSync(file, UNIT.replaceAll('/usr/bin/basewire', process.execPath));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const analyze = (...words: string[]) =>
  spawnSync('systemd-analyze', words, { encoding: 'utf8', timeout: 25_000 });
const version = analyze('--version');
const lacking = version.status === 0 ? '' : ' (there is no systemd-analyze)';
const major = Number(/systemd (\d+)/.exec(version.stdout ?? '')?.[1] ?? 0);

/** All values of a key, in order. */
function values(key: string): string[] {
  return UNIT.split('\n')
    .filter((line) => line.startsWith(`${key}=`))
    .map((line) => line.slice(key.length + 1));
}

describe.skipIf(lacking !== '')(`systemd-analyze${lacking}`, () => {
  test('verify has no complaint', () => {
    const { stderr, status } = analyze('verify', file);
    const ours = stderr.split('\n').filter((line) => line.includes('basewire'));
    expect([ours, status]).toEqual([[], 0]);
  });

  test.skipIf(major < 250)('the exposure is at most 2.0 of 10 (needs systemd 250)', () => {
    const { stdout, status } = analyze(
      'security',
      '--offline=yes',
      '--no-pager',
      '--threshold=20',
      file,
    );
    expect([/exposure level.*: ([\d.]+)/.exec(stdout)?.[1], status]).toEqual([
      expect.any(String),
      0,
    ]);
  });
});

test('it may do what the daemon does', () => {
  expect(values('Type')).toEqual(['notify']);
  expect(values('NotifyAccess')).toEqual(['all']); // systemd-notify is a child
  expect(values('MemoryDenyWriteExecute')).toEqual(['no']); // V8
  expect(values('AmbientCapabilities')).toEqual(['CAP_NET_RAW']);
  expect(values('CapabilityBoundingSet')).toEqual(['CAP_NET_RAW']);
  expect(values('RestrictAddressFamilies')).toEqual(['AF_UNIX AF_PACKET AF_NETLINK']);
  expect(values('RuntimeDirectory')).toEqual(['basewire']);
  // Guests shut down with the host are shut down before it; a name that is not known yet would be a wrong configuration, which is not tried again.
  expect(values('Before').join(' ')).toContain('libvirt-guests.service');
  expect(values('After').join(' ')).toContain('nss-user-lookup.target');
  // A socket's `group`: @privileged, which is taken away, has lchown, so it must be given back behind that.
  const calls = values('SystemCallFilter');
  const taken = calls.findIndex((value) => /^~.*@privileged/.test(value));
  expect(calls.findIndex((value) => value.split(' ').includes('lchown'))).toBeGreaterThan(taken);
});
