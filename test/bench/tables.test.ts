import { copyFileSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, onTestFinished, test } from 'vitest';
import { readResults, storeRow } from '../../bench/lib/results.ts';
import { renderTables } from '../../bench/lib/tables.ts';

const file = (path: string) => fileURLToPath(new URL(`../../${path}`, import.meta.url));

test('docs/performance.md shows what bench/results.json holds', () => {
  const tables = renderTables(readResults(file('bench/results.json')));
  expect(tables).toContain('| 64 B | basewire |');
  expect(readFileSync(file('docs/performance.md'), 'utf8')).toContain(`\n${tables}\n`);
});

test('a row that was measured is shown as it is stored', () => {
  const folder = mkdtempSync(join(tmpdir(), 'basewire-tables-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const path = join(folder, 'results.json');
  copyFileSync(file('bench/results.json'), path);
  const row = readResults(path).rows.guests!;
  row.cells[0]!.comparisons[0]!.median = 1.3749999;
  expect(renderTables(storeRow(path, row))).toBe(renderTables(readResults(path)));
});
