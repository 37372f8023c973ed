// The guest builder's archives: what the cpio writer writes is what the system's cpio would read,
// and the tar reader reads what the system's tar wrote.

import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { cpio, type Entry, withFolders } from '../../qemu/guest/cpio.ts';
import { untar } from '../../qemu/guest/tar.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'basewire-archive-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

/** Reads a newc archive as the kernel's documentation describes it. */
function readCpio(archive: Buffer): { path: string; mode: number; data: string }[] {
  const found: { path: string; mode: number; data: string }[] = [];
  for (let at = 0; ; ) {
    expect(archive.toString('latin1', at, at + 6)).toBe('070701');
    const field = (n: number): number =>
      Number.parseInt(archive.toString('latin1', at + 6 + 8 * n, at + 14 + 8 * n), 16);
    const [mode, size, name] = [field(1), field(6), field(11)];
    const path = archive.toString('utf8', at + 110, at + 110 + name - 1);
    const data = (at + 110 + name + 3) & ~3;
    if (path === 'TRAILER!!!') return found;
    found.push({ path, mode, data: archive.toString('utf8', data, data + size) });
    at = (data + size + 3) & ~3;
  }
}

test('cpio: files, folders and links come with their modes, names of every length', () => {
  const entries: Entry[] = [1, 2, 3, 4, 5].map((n) => ({
    path: `d/${'n'.repeat(n)}`,
    type: 'file',
    mode: 0o640 + n,
    data: Buffer.from('x'.repeat(n)),
  }));
  entries.push({ path: 'link', type: 'symlink', target: '/bin/busybox' });
  const archive = cpio(withFolders(entries));
  expect(archive.length % 512).toBe(0);
  expect(readCpio(archive)).toEqual([
    { path: 'd', mode: 0o40755, data: '' },
    ...[1, 2, 3, 4, 5].map((n) => ({
      path: `d/${'n'.repeat(n)}`,
      mode: 0o100640 + n,
      data: 'x'.repeat(n),
    })),
    { path: 'link', mode: 0o120777, data: '/bin/busybox' },
  ]);
});

test('cpio: a folder that is named itself keeps its mode and comes once', () => {
  const entries: Entry[] = [
    { path: 'tmp', type: 'directory', mode: 0o1777 },
    { path: 'tmp/a/b', type: 'file', mode: 0o600, data: Buffer.alloc(0) },
  ];
  expect(readCpio(cpio(withFolders(entries))).map(({ path, mode }) => [path, mode])).toEqual([
    ['tmp', 0o41777],
    ['tmp/a', 0o40755],
    ['tmp/a/b', 0o100600],
  ]);
});

test('tar: what the system archives is read back, long names and links included', () => {
  const long = `${'long-'.repeat(30)}name`;
  mkdirSync(join(folder, 'root/bin'), { recursive: true });
  writeFileSync(join(folder, 'root/bin/tool'), 'tool', { mode: 0o755 });
  writeFileSync(join(folder, 'root', long), 'long', { mode: 0o600 });
  symlinkSync('tool', join(folder, 'root/bin/alias'));
  const args = ['--format=pax', '-cf', '-', '-C', join(folder, 'root'), '.'];
  const entries = untar(execFileSync('tar', args));
  const byPath = new Map(entries.map((entry) => [entry.path, entry]));
  expect(byPath.get('bin')).toMatchObject({ type: 'directory' });
  expect(byPath.get('bin/tool')).toMatchObject({ type: 'file', mode: 0o755 });
  expect(byPath.get('bin/alias')).toMatchObject({ type: 'symlink', target: 'tool' });
  expect(byPath.get(long)).toMatchObject({ type: 'file', data: Buffer.from('long') });
});

test('tar: what is no archive is refused', () => {
  expect(() => untar(Buffer.alloc(1024, 'x'))).toThrow('not a tar archive');
});
