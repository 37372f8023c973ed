/**
 * A front-end that shrinks the file it shared: reads give zeros, the region is reported, the process lives. Each
 * case runs in a process of its own (sigbus-child.ts), so that a crash is seen as one.
 */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

const child = fileURLToPath(new URL('sigbus-child.ts', import.meta.url));

function run(name: string): { lines: unknown[]; status: number | null; signal: string | null } {
  const result = spawnSync(process.execPath, ['--import', 'tsx', child, name], {
    encoding: 'utf8',
    timeout: 60_000,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const lines = result.stdout.split('\n').filter((line) => line !== '');
  return {
    lines: lines.map((line) => JSON.parse(line)),
    status: result.status,
    signal: result.signal,
  };
}

test('typed-array reads, Atomics and writes go on, with zeros, and the region is reported once', () => {
  const { lines, status } = run('reads');
  expect(lines[0]).toEqual({
    before: 0,
    plain: 0,
    atomic: 0,
    written: [5, 77],
    kept: 1,
    regions: 1,
    reported: [true],
    again: [],
    healthy: 4096,
  });
  // What takes over the handle is innocent.
  expect(lines[1]).toEqual({ sameHandle: true, reported: [] });
  expect(status).toBe(0);
});

test('gatherCopies and deliverCopies go on, across the edge of what is left', () => {
  const { lines, status } = run('copies');
  expect(lines).toEqual([
    { gathered: 0, edge: [1, 0, 0], good: 1, gone: [0, 0] },
    { delivered: 0, reported: 1 },
  ]);
  expect(status).toBe(0);
});

test('a fault on every second page does not use up the mappings a process may have', () => {
  const { lines, status } = run('many');
  expect(lines).toEqual([{ sum: 0, regions: 1 }]);
  expect(status).toBe(0);
});

test('nor does one in many regions', () => {
  expect(run('spread')).toEqual({ lines: [{ sum: 0, regions: 120 }], status: 0, signal: null });
});

test('in a worker; the handler stays when that worker is gone', () => {
  const { lines, status } = run('worker');
  expect(lines).toEqual([{ answer: { read: 0, reported: 1 }, regions: 1, ours: [] }, { read: 0 }]);
  expect(status).toBe(0);
});

test('unmapping a region after a fault', () => {
  expect(run('detached')).toEqual({ lines: [{ read: 0, after: 0 }], status: 0, signal: null });
});

test('a SIGBUS that is not about a region still ends the process', () => {
  expect(run('stranger')).toEqual({ lines: ['alive'], status: null, signal: 'SIGBUS' });
});
