/**
 * What a run leaves behind: `bench/results.json` (rows that were not run keep what an earlier run left, each with its own
 * date and machine), and the table on standard output.
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import type { MachineDescription } from './machine.ts';
import type { Comparison, Noise, Summary, Verdict } from './statistics.ts';

/** One thing measured in one way: a line of the table. */
export interface Cell {
  /** "64 B", "p50, adaptive polling". */
  name: string;
  /** "datagrams/s", "µs", "s of processor time". */
  unit: string;
  less: boolean;
  candidates: Record<string, Summary>;
  comparisons: Comparison[];
  /** An absolute limit, where the row has one. */
  limit?: { below: number; verdict: Verdict };
  noise: Noise | null;
  /** What a reader must know: losses, what was left out and why. */
  notes: string[];
}

export interface Row {
  row: string;
  title: string;
  date: string;
  rounds: number;
  measureSeconds: number;
  quick: boolean;
  machine: MachineDescription;
  cells: Cell[];
}

export interface Results {
  format: 1;
  rows: Record<string, Row>;
}

export function readResults(path: string): Results {
  if (!existsSync(path)) return { format: 1, rows: {} };
  const results = JSON.parse(readFileSync(path, 'utf8')) as Results;
  return results.format === 1 ? results : { format: 1, rows: {} };
}

/** Puts a row into the file, which is written anew. Returns what the file says then: rounded twice, a number may end otherwise. */
export function storeRow(path: string, row: Row): Results {
  const results = readResults(path);
  results.rows[row.row] = row;
  writeFileSync(path, `${JSON.stringify(results, rounded, 1)}\n`);
  return readResults(path);
}

/** Five digits are more than any of this is worth. */
function rounded(_key: string, value: unknown): unknown {
  return typeof value === 'number' && !Number.isInteger(value)
    ? Number(value.toPrecision(5))
    : value;
}

/** 5234567 "datagrams/s" -> "5.23 M". */
export function quantity(value: number, unit: string): string {
  if (!Number.isFinite(value)) return '-';
  if (unit.endsWith('/s')) {
    if (value >= 1e9) return `${(value / 1e9).toFixed(2)} G`;
    if (value >= 1e6) return `${(value / 1e6).toFixed(2)} M`;
    if (value >= 1e3) return `${(value / 1e3).toFixed(1)} k`;
  }
  if (value >= 1000) return value.toFixed(0);
  return value.toPrecision(3);
}

export function printRow(row: Row): string {
  const lines = [`\n${row.title} (${row.rounds} rounds of ${row.measureSeconds} s)`];
  const table = [
    ['', 'candidate', 'median', 'spread', 'ratio (worst, median, best)', 'must reach', 'verdict'],
  ];
  for (const cell of row.cells) {
    let first = true;
    for (const [name, summary] of Object.entries(cell.candidates)) {
      const comparison = cell.comparisons.find((item) => item.against === name);
      table.push([
        first ? cell.name : '',
        name,
        `${quantity(summary.median, cell.unit)} ${first ? cell.unit : ''}`.trimEnd(),
        `${(summary.spread * 100).toFixed(0)} %`,
        comparison && comparison.ratios.length > 0
          ? [Math.min(...comparison.ratios), comparison.median, Math.max(...comparison.ratios)]
              .map((ratio) => ratio.toFixed(2))
              .join('  ')
          : '',
        comparison?.required ? `${comparison.required.toFixed(2)}` : '',
        comparison?.required ? comparison.verdict : '',
      ]);
      first = false;
    }
  }
  const widths = table[0]!.map((_, column) =>
    Math.max(...table.map((line) => line[column]!.length)),
  );
  for (const line of table) {
    lines.push(
      `  ${line.map((text, column) => text.padEnd(widths[column]!)).join('  ')}`.trimEnd(),
    );
  }
  for (const cell of row.cells) {
    for (const note of cell.notes) lines.push(`  ${cell.name}: ${note}`);
    if (cell.noise && !cell.noise.quiet) lines.push(`  ${cell.name}: ${describeNoise(cell.noise)}`);
  }
  return lines.join('\n');
}

export function describeNoise(noise: Noise): string {
  const percent = (share: number) => `${(share * 100).toFixed(0)} %`;
  return (
    `the machine was noisy (others used up to ${percent(noise.foreign)} of a core, ` +
    `the hypervisor took ${percent(noise.steal)}, spread ${percent(noise.spread)}): judge with care`
  );
}
