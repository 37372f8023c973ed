import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { readResults } from '../../bench/lib/results.ts';
import { renderTables } from '../../bench/lib/tables.ts';

const file = (path: string) => fileURLToPath(new URL(`../../${path}`, import.meta.url));

test('docs/performance.md shows what bench/results.json holds', () => {
  const tables = renderTables(readResults(file('bench/results.json')));
  expect(tables).toContain('| 64 B | basewire |');
  expect(readFileSync(file('docs/performance.md'), 'utf8')).toContain(`\n${tables}\n`);
});
