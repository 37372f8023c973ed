/** Reading the file: what is no file, too large or no text is refused without waiting for it. */
import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { ConfigError } from '../../src/config/config-error.ts';
import { loadConfig } from '../../src/config/load.ts';
import { native } from '../../src/native.ts';
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

it('no UTF-8, at the first byte that is none', () => {
  const file = join(folder, 'latin.yaml');
  const where = (...parts: (string | number[])[]) => {
    writeFileSync(file, Buffer.concat(parts.map((part) => Buffer.from(part as string))));
    return refusal(file).slice(file.length + 1);
  };
  const next = EXAMPLE.split('\n').length;
  const byte = (value: string) => `is not UTF-8 text (byte 0x${value})`;
  expect(where(EXAMPLE, '# ', [0xe9], ' and so on\n')).toBe(`${next}:3: ${byte('e9')}`);
  expect(where('\ufeff# é\n\ufeff', [0xff], EXAMPLE)).toBe(`2:2: ${byte('ff')}`);
  // A sequence that is broken off by something else, by the end, or by nothing but the rules.
  expect(where('a\r\n#', [0xe2, 0x82, 0x41], EXAMPLE)).toBe(`2:2: ${byte('e2')}`);
  expect(where(EXAMPLE, [0xf0, 0x9f, 0x98])).toBe(`${next}:1: ${byte('f0')}`);
  expect(where([0xc0, 0x80])).toBe(`1:1: ${byte('c0')}`);
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

it('what stands where a socket is to be made', () => {
  const file = join(folder, 'places.yaml');
  const socket = join(folder, 'place.sock');
  const refusalOf = (text: string) => {
    writeFileSync(file, text);
    return refusal(file);
  };
  const text = EXAMPLE.replace('/run/basewire/web.sock', socket);
  const client = text.replace(`socket: ${socket}`, `socket: {path: ${socket}, mode: client}`);
  const admin = EXAMPLE.replace('/run/basewire/admin.sock', socket);
  expect(refusalOf(text)).toBe('');
  const notASocket = `${socket} exists and is not a socket: remove it, or choose another path`;
  for (const make of [() => writeFileSync(socket, ''), () => mkdirSync(socket)]) {
    make();
    expect(refusalOf(text)).toBe(`${file}:8:13: vms.web.socket: ${notASocket}`);
    expect(refusalOf(admin)).toBe(`${file}:25:17: admin.socket: ${notASocket}`);
    expect(refusalOf(client)).toBe('');
    rmSync(socket, { recursive: true });
  }
  symlinkSync('/nowhere', socket);
  expect(refusalOf(text)).toMatch(/place\.sock is a symbolic link, which is not followed/);
  rmSync(socket);
  // What a daemon left is none: it is replaced.
  native.closeDescriptor(native.unixListen(socket, 0o600, 1));
  expect(refusalOf(text)).toBe('');
});

it('one socket under two names of its folder', () => {
  const file = join(folder, 'names.yaml');
  const real = join(folder, 'real');
  const alias = join(folder, 'alias');
  mkdirSync(real);
  symlinkSync(real, alias);
  for (const made of ['', '/made']) {
    const [first, again] = [`${real}${made}/web.sock`, `${alias}${made}/web.sock`];
    const text = EXAMPLE.replace('/run/basewire/web.sock', first);
    writeFileSync(file, text.replace('/run/basewire/controller.sock', again));
    const used = `${again} is already a socket of VM web: choose another`;
    expect(refusal(file)).toBe(`${file}:12:13: vms.controller.socket: ${used}`);
    writeFileSync(file, text.replace('/run/basewire/controller.sock', `${alias}${made}/c.sock`));
    expect(refusal(file)).toBe('');
  }
});

it.skipIf(process.getuid!() !== 0)(
  'a folder that we may not look into is not called missing (needs root, to be somebody else)',
  () => {
    const hidden = join(folder, 'hidden');
    const file = join(folder, 'hidden.yaml');
    mkdirSync(join(hidden, 'a', 'run'), { recursive: true });
    chmodSync(hidden, 0o700);
    chmodSync(folder, 0o755);
    writeFileSync(file, EXAMPLE.replaceAll('/run/basewire', join(hidden, 'a', 'run')));
    process.seteuid!(65534);
    try {
      expect(refusal(file)).toBe('');
    } finally {
      process.seteuid!(0);
    }
    writeFileSync(file, EXAMPLE.replaceAll('/run/basewire', join(hidden, 'b', 'run')));
    expect(refusal(file)).toMatch(/neither the folder .* exists/);
  },
);
