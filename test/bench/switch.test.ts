/** The benchmark's switch row in its short form: does it still run, and does traffic flow? No limits of time. */
import { execFile } from 'node:child_process';
import { readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { allowedCores } from '../../src/supervision/idle-cores.ts';
import { DPDK, missing } from '../../bench/lib/needs.ts';
import type { Results } from '../../bench/lib/results.ts';

const project = fileURLToPath(new URL('../..', import.meta.url));
const lacking = missing(DPDK).map((need) => need.what);
const reason =
  lacking.length > 0
    ? `without ${lacking.join(', ')}`
    : allowedCores().size < 2
      ? 'with one core'
      : '';

test.skipIf(reason !== '')(
  `npm run bench -- switch --quick${reason === '' ? '' : ` (not possible ${reason})`}`,
  { timeout: 180_000 },
  async () => {
    const out = join(tmpdir(), `basewire-bench-smoke-${process.pid}.json`);
    try {
      const args = [
        '--import',
        'tsx',
        join(project, 'bench/main.ts'),
        'switch',
        '--quick',
        '--no-install',
      ];
      await promisify(execFile)(
        process.execPath,
        [
          ...args,
          '--only',
          'basewire,dpdk io',
          '--variants',
          'split,in-order',
          '--sizes',
          '64,1500',
          '--out',
          out,
        ],
        { cwd: project, timeout: 170_000, killSignal: 'SIGINT' },
      );
      const { cells } = (JSON.parse(readFileSync(out, 'utf8')) as Results).rows.switch!;
      expect(cells.map(({ name }) => name)).toEqual([
        '64 B',
        '1500 B',
        '64 B, in order',
        '1500 B, in order',
      ]);
      for (const { name, candidates, notes } of cells) {
        for (const peer of ['basewire', 'dpdk io']) {
          expect(candidates[peer]?.median, `${peer}, ${name}`).toBeGreaterThan(0);
        }
        expect(
          notes.filter((note) => note.startsWith('basewire lost')),
          name,
        ).toEqual([]);
      }
    } finally {
      rmSync(out, { force: true });
    }
  },
);
