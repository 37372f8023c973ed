/** The file that outlives the daemon: replaced as a whole, and only if it is ours. */
import {
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { native } from '../../src/native.ts';
import { StateFile } from '../../src/supervision/state-file.ts';

let folder: string;
let warnings: string[];
let file: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'basewire-state-'));
  file = join(folder, 'state.json');
  warnings = [];
});
afterEach(() => {
  for (const fd of opened.splice(0)) native.closeDescriptor(fd);
  rmSync(folder, { recursive: true, force: true });
});

const opened: number[] = [];
const keep = (fd: number) => opened.push(fd);

const open = (path = file) => new StateFile(path, (message) => warnings.push(message));

test('what was written is read back, whole, by its owner only, and nothing else is left', () => {
  open().write({ version: 1, macs: [] });
  open().write({ version: 1, macs: [{ vm: 'web', mac: '52:54:00:00:00:11' }] });
  expect(open().read()).toEqual({ version: 1, macs: [{ vm: 'web', mac: '52:54:00:00:00:11' }] });
  expect(statSync(file).mode & 0o777).toBe(0o600);
  expect(readdirSync(folder)).toEqual(['state.json']);
  expect(warnings).toEqual([]);
});

test('none is nothing to warn of', () => {
  expect(open().read()).toBeNull();
  expect(warnings).toEqual([]);
});

test.each([
  ['an empty one', ''],
  ['one of zeros, as a power failure may leave it', '\0'.repeat(100)],
])('%s is replaced', (_, text) => {
  writeFileSync(file, text);
  const state = open();
  expect(state.read()).toBeNull();
  state.write({ version: 1 });
  expect(open().read()).toEqual({ version: 1 });
  expect(warnings).toEqual([]);
});

const other = () => join(folder, 'other');
test.each<[name: string, make: () => unknown, complaint: RegExp]>([
  // A rename leaves no half of one.
  ['half a file', () => writeFileSync(file, '{"version":1,"ma'), /is not basewire’s/],
  ['a configuration', () => writeFileSync(file, 'networks: {}\n'), /is not basewire’s/],
  ['other JSON', () => writeFileSync(file, '{"version":"1"}'), /is not basewire’s/],
  ['JSON that is no object', () => writeFileSync(file, 'null'), /is not basewire’s/],
  ['a folder', () => mkdirSync(file), /is no regular file/],
  [
    'a link',
    () => {
      writeFileSync(other(), '{"version":1}');
      symlinkSync(other(), file);
    },
    /is a symbolic link/,
  ],
  ['a socket', () => keep(native.unixListen(file, 0o600, 1)), /is no regular file/],
  [
    'one too large to be read',
    () => {
      writeFileSync(file, '');
      truncateSync(file, (64 << 20) + 1);
    },
    /is larger than 64 MiB/,
  ],
])('%s is neither used nor replaced, with one warning', (_, make, complaint) => {
  make();
  const before = lstatSync(file);
  const state = open();
  expect(state.read()).toBeNull();
  for (let round = 0; round < 2; round++) state.write({ version: 1 });
  const { ino, mode, size } = lstatSync(file);
  expect({ ino, mode, size }).toEqual({ ino: before.ino, mode: before.mode, size: before.size });
  expect(readdirSync(folder)).not.toContain('state.json.new');
  expect(warnings).toHaveLength(1);
  expect(warnings[0]).toMatch(complaint);
  expect(warnings[0]).toMatch(/neither used nor replaced: remove it, or name another one/);
  // Once it is out of the way there is a state again.
  rmSync(file, { recursive: true });
  state.write({ version: 1, macs: [] });
  expect(open().read()).toEqual({ version: 1, macs: [] });
});

test('what takes its place meanwhile stays, too', () => {
  const state = open();
  expect(state.read()).toBeNull();
  state.write({ version: 1 });
  rmSync(file);
  keep(native.unixListen(file, 0o600, 1));
  state.write({ version: 1, macs: [] });
  expect(lstatSync(file).isSocket()).toBe(true);
  expect(warnings.join()).toMatch(/is no regular file/);
});

test('a socket in the way of the fresh file stays', () => {
  keep(native.unixListen(`${file}.new`, 0o600, 1));
  open().write({ version: 1 });
  expect(lstatSync(`${file}.new`).isSocket()).toBe(true);
  expect(warnings.join()).toMatch(/state\.json\.new is in the way, and no file: remove it/);
});

test('a folder that is gone is said once, however often it is written', () => {
  const state = open(join(folder, 'gone', 'state.json'));
  state.write({});
  state.write({});
  expect(warnings).toHaveLength(1);
});

test('a folder that goes again is said again', () => {
  const gone = join(folder, 'gone');
  const state = open(join(gone, 'state.json'));
  state.write({ version: 1 });
  mkdirSync(gone);
  state.write({ version: 1 });
  expect(warnings).toHaveLength(1);
  rmSync(gone, { recursive: true });
  state.write({ version: 1 });
  expect(warnings).toHaveLength(2);
  expect(warnings[1]).toBe(warnings[0]);
  mkdirSync(gone);
  state.close();
});

test('a link in the way of the fresh file is not followed', () => {
  const victim = join(folder, 'victim');
  writeFileSync(victim, 'precious');
  symlinkSync(victim, `${file}.new`);
  open().write({ version: 1 });
  expect(readFileSync(victim, 'utf8')).toBe('precious');
  expect(open().read()).toEqual({ version: 1 });
});

describe('what could not be written', () => {
  beforeEach(() => {
    vi.useFakeTimers();
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  /** A state file in a folder that is missing for now. */
  const refused = (state: unknown) => {
    const path = join(folder, 'later', 'state.json');
    const made = open(path);
    made.write(state);
    expect(warnings).toHaveLength(1);
    return { made, path, folder: () => mkdirSync(join(folder, 'later')) };
  };

  test('is tried again until it is, without another change and another warning', () => {
    const { path, folder: make } = refused({ version: 1, macs: [] });
    vi.advanceTimersByTime(60_000);
    expect(warnings).toHaveLength(1);
    make();
    vi.advanceTimersByTime(20_000);
    expect(open(path).read()).toEqual({ version: 1, macs: [] });
    // And then no more.
    rmSync(path);
    vi.advanceTimersByTime(60_000);
    expect(existsSync(path)).toBe(false);
    expect(vi.getTimerCount()).toBe(0);
  });

  test('gives way to what is newer', () => {
    const { made, path, folder: make } = refused({ version: 1, macs: [1] });
    make();
    made.write({ version: 1, macs: [2] });
    vi.advanceTimersByTime(60_000);
    expect(open(path).read()).toEqual({ version: 1, macs: [2] });
  });

  test('is tried once more when the base ends', () => {
    const { made, path, folder: make } = refused({ version: 1, macs: [3] });
    make();
    made.close();
    expect(open(path).read()).toEqual({ version: 1, macs: [3] });
    expect(vi.getTimerCount()).toBe(0);
  });

  test('is written once what is not basewire’s was taken away', () => {
    writeFileSync(file, 'networks: {}\n');
    open().write({ version: 1, macs: [4] });
    vi.advanceTimersByTime(60_000);
    expect(readFileSync(file, 'utf8')).toBe('networks: {}\n');
    expect(warnings).toHaveLength(1);
    rmSync(file);
    vi.advanceTimersByTime(20_000);
    expect(open().read()).toEqual({ version: 1, macs: [4] });
  });
});

test('that it can’t be looked for is said of the state file', () => {
  const long = join(folder, 'x'.repeat(256));
  const state = new StateFile(long, (message) => warnings.push(message));
  expect(state.read()).toBe(null);
  expect(warnings).toEqual([expect.stringMatching(/^the state file can't be read: ENAMETOOLONG/)]);
});
