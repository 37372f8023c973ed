import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { whereCut } from '../../src/supervision/where-cut.ts';

let folder: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'bw-where-cut-'));
  mkdirSync(join(folder, 'card', 'device'), { recursive: true });
  mkdirSync(join(folder, 'veth'));
});

afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe('coupleUdp: auto', () => {
  test.each([
    ['card', '6.2.0', true],
    ['card', '6.12.41+deb13-amd64', true],
    ['card', '10.0-rc1', true],
    ['card', '6.1.0-13-amd64', false],
    ['card', '5.15.0', false],
    ['veth', '6.2', 'auto'],
    ['veth', '6.1.99', false],
    ['nothing', '6.6.1', 'auto'],
    ['card', 'unknown', false],
  ] as const)('%s on Linux %s: %s', (name, kernel, answer) => {
    expect(whereCut(name, kernel, folder)).toBe(answer);
  });

  test('asks this machine’s own kernel and interfaces: the loopback interface is no card', () => {
    expect(['auto', false]).toContain(whereCut('lo'));
  });
});
