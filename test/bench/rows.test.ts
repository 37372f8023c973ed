/** All of the benchmark's rows in one run, in their short form: does each still run, behind the others? Six minutes, so with BASEWIRE_LONG=1. */
import { execFile } from 'node:child_process';
import { readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import type { Results } from '../../bench/lib/results.ts';
import { allowedCores } from '../../src/supervision/idle-cores.ts';
import { LONG } from '../support/random.ts';

const project = fileURLToPath(new URL('../..', import.meta.url));
const ROWS = [
  'switch',
  'adapter',
  'guests',
  'latency',
  'idle',
  'control',
  'scale',
  'garbage',
  'fairness',
  'workers',
];

const reason = !LONG
  ? 'BASEWIRE_LONG=1 only'
  : process.getuid!() !== 0
    ? 'not possible without root'
    : allowedCores().size < 2
      ? 'not possible with one core'
      : '';

test.skipIf(reason !== '')(
  `npm run bench -- --quick${reason && ` (${reason})`}`,
  { timeout: 1_200_000 },
  async () => {
    const out = join(tmpdir(), `basewire-bench-rows-${process.pid}.json`);
    try {
      const main = join(project, 'bench/main.ts');
      const { stderr } = await promisify(execFile)(
        process.execPath,
        ['--import', 'tsx', main, '--quick', '--out', out],
        { cwd: project, timeout: 1_190_000, killSignal: 'SIGINT', maxBuffer: 1 << 24 },
      );
      expect(stderr).not.toMatch(/ failed: /);
      const { rows } = JSON.parse(readFileSync(out, 'utf8')) as Results;
      expect(Object.keys(rows).sort()).toEqual([...ROWS].sort());
    } finally {
      rmSync(out, { force: true });
    }
  },
);
