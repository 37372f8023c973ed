/**
 * The tables of docs/performance.md, from bench/results.json: what stands between the two marks is written anew with each stored row, and
 * nobody copies a figure by hand.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { type Cell, quantity, type Results, type Row } from './results.ts';

export const BEGIN = '<!-- tables of bench/results.json: begin -->';
export const END = '<!-- end -->';

const WORDS = {
  reached: 'reached',
  missed: '**missed**',
  noisy: 'rounds disagree',
  shown: '',
} as const;

function lines(cell: Cell): string[] {
  const { below = null, verdict = 'shown' } = cell.limit ?? {};
  return Object.entries(cell.candidates).map(([name, summary], index) => {
    const comparison = cell.comparisons.find(({ against }) => against === name);
    const ratio =
      comparison && comparison.ratios.length > 0
        ? [Math.min(...comparison.ratios), comparison.median, Math.max(...comparison.ratios)]
            .map((value, place) => (place === 1 ? `**${value.toFixed(2)}**` : value.toFixed(2)))
            .join(', ')
        : '';
    const [required, judged] =
      index === 0 && below !== null
        ? [`< ${below} ${cell.unit}`, verdict]
        : comparison?.required
          ? [comparison.required.toFixed(2), comparison.verdict]
          : ['', 'shown' as const];
    const first = index === 0 ? cell.name : '';
    const unit = index === 0 ? ` ${cell.unit}` : '';
    const spread = `${(100 * summary.spread).toFixed(0)} %`;
    return `| ${first} | ${name} | ${quantity(summary.median, cell.unit)}${unit} | ${spread} | ${ratio} | ${required} | ${WORDS[judged]} |`;
  });
}

function table(row: Row): string {
  const notes = row.cells.flatMap(({ name, notes: all }) =>
    all.map((note) => `- ${name}: ${note}`),
  );
  return [
    `### ${row.title}`,
    '',
    `\`npm run bench -- ${row.row}\`, ${row.rounds === 1 ? '1 round' : `${row.rounds} rounds`} of ${row.measureSeconds} s, ${row.date.slice(0, 10)}, ${row.machine.cpu}, ${row.machine.cores} cores, Node ${row.machine.node}`,
    '',
    '| | | median | spread | ratio: worst, median, best | must reach | |',
    '|---|---|---|---|---|---|---|',
    ...row.cells.flatMap(lines),
    ...(notes.length > 0 ? ['', ...notes] : []),
  ].join('\n');
}

export function renderTables(results: Results): string {
  return Object.values(results.rows).map(table).join('\n\n');
}

/** Puts the tables between the marks of a document; throws when it has none. */
export function writeTables(path: string, results: Results): void {
  const text = readFileSync(path, 'utf8');
  const [begin, end] = [text.indexOf(BEGIN), text.indexOf(END)];
  if (begin < 0 || end < begin) throw new Error(`${path} has no marks for the tables`);
  const head = text.slice(0, begin + BEGIN.length);
  writeFileSync(path, `${head}\n\n${renderTables(results)}\n\n${text.slice(end)}`);
}
