import {
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { StateFile } from '../../src/supervision/state-file.ts';

let folder: string;
let warnings: string[];
let file: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'basewire-state-'));
  file = join(folder, 'state.json');
  warnings = [];
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

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
  ['half a file', () => writeFileSync(file, '{"version":1,"ma')],
  ['a folder', () => rmSync(file, { force: true }), '/'],
  [
    'a link',
    () => {
      writeFileSync(join(folder, 'other'), '{}');
      symlinkSync(join(folder, 'other'), file);
    },
  ],
])('%s is not used, with one warning', (_, make, suffix = '') => {
  make();
  expect(open(suffix ? folder : file).read()).toBeNull();
  expect(warnings).toHaveLength(1);
});

test('a folder that is gone is said once, however often it is written', () => {
  const state = open(join(folder, 'gone', 'state.json'));
  state.write({});
  state.write({});
  expect(warnings).toHaveLength(1);
});

test('a link in the way of the fresh file is not followed', () => {
  const victim = join(folder, 'victim');
  writeFileSync(victim, 'precious');
  symlinkSync(victim, `${file}.new`);
  open().write({ version: 1 });
  expect(readFileSync(victim, 'utf8')).toBe('precious');
  expect(open().read()).toEqual({ version: 1 });
});
