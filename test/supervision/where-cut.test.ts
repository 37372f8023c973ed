import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { whereCut } from '../../src/supervision/where-cut.ts';

const MAC = '52:54:00:12:34:56';
let folder: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'bw-where-cut-'));
  for (const [name, bus] of [
    ['card', 'pci'],
    ['guest', 'virtio'],
    ['veth', ''],
  ]) {
    mkdirSync(join(folder, name, bus === '' ? '' : 'device'), { recursive: true });
    writeFileSync(join(folder, name, 'address'), `${MAC}\n`);
    if (bus !== '') symlinkSync(`/sys/bus/${bus}`, join(folder, name, 'device/subsystem'));
  }
});

afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe('coupleUdp: auto', () => {
  test.each([
    ['card', '6.2.0', true],
    ['card', '6.12.41+deb13-amd64', true],
    ['card', '10.0-rc1', true],
    ['card', '6.1.0-13-amd64', false],
    ['card', '5.15.0', false],
    ['guest', '6.12.0', 'auto'],
    ['veth', '6.2', 'auto'],
    ['veth', '6.1.99', false],
    ['nothing', '6.6.1', 'auto'],
    ['card', 'unknown', false],
  ] as const)('%s on Linux %s: %s', (name, kernel, answer) => {
    expect(whereCut(name, MAC, kernel, folder)).toBe(answer);
  });

  test('an interface of that name in another network namespace says nothing', () => {
    expect(whereCut('card', '52:54:00:00:00:01', '6.12.0', folder)).toBe('auto');
  });

  test('asks this machine’s own kernel and interfaces: the loopback interface is no card', () => {
    expect(['auto', false]).toContain(whereCut('lo', '00:00:00:00:00:00'));
  });
});
