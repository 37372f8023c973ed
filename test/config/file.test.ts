/** Reading the file: what is no file, too large or no text is refused without waiting for it. */
import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { ConfigError } from '../../src/config/complaints.ts';
import { loadConfig } from '../../src/config/load.ts';
import { EXAMPLE } from './example.ts';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'basewire-file-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function refusal(file: string): string {
  try {
    loadConfig(file);
  } catch (error) {
    if (error instanceof ConfigError) return error.message;
    throw error;
  }
  return '';
}

it('a folder, a FIFO, a device, nothing', () => {
  mkdirSync(join(folder, 'folder'));
  execFileSync('mkfifo', [join(folder, 'fifo')]);
  expect(refusal(join(folder, 'folder'))).toBe(`${folder}/folder:1:1: is a directory`);
  expect(refusal(join(folder, 'fifo'))).toBe(`${folder}/fifo:1:1: is no regular file`);
  expect(refusal('/dev/zero')).toBe('/dev/zero:1:1: is no regular file');
  expect(refusal(join(folder, 'no'))).toBe(
    `${folder}/no:1:1: can’t be opened: no such file or directory`,
  );
});

it('more than 16 MiB', () => {
  const file = join(folder, 'large.yaml');
  writeFileSync(file, `${EXAMPLE}#${' '.repeat(16 * 1024 * 1024)}`);
  expect(refusal(file)).toMatch(/is larger than 16 MiB/);
});

it('no UTF-8', () => {
  const file = join(folder, 'latin.yaml');
  writeFileSync(file, Buffer.concat([Buffer.from(EXAMPLE), Buffer.from([0x23, 0xe9, 0x0a])]));
  expect(refusal(file)).toMatch(/is not UTF-8 text/);
});

it('through a symbolic link, with a byte order mark', () => {
  const file = join(folder, 'good.yaml');
  writeFileSync(file, `\ufeff${EXAMPLE}`);
  symlinkSync(file, join(folder, 'link.yaml'));
  expect(loadConfig(join(folder, 'link.yaml')).warnings).toEqual([]);
});

it('warns of a file that anyone can write', () => {
  const file = join(folder, 'open.yaml');
  writeFileSync(file, EXAMPLE);
  chmodSync(file, 0o666);
  expect(loadConfig(file).warnings.join()).toMatch(/anyone on this host can write/);
});

it('a complaint can’t write to the terminal', () => {
  const file = join(folder, 'escape.yaml');
  writeFileSync(file, `${EXAMPLE}"\\e[2Jx": 1\n`);
  const text = refusal(file);
  expect(text).toContain('\\u001b[2Jx');
  expect(text).not.toContain('\u001b');
});
