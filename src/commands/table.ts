/** Plain tables for people: columns as wide as their widest cell, two spaces between, no control characters. */
import { printable } from '../printable.ts';

export function table(head: string[], rows: string[][]): string {
  const lines = [head, ...rows].map((line) => line.map(printable));
  const widths = head.map((_, column) =>
    Math.max(...lines.map((line) => width(line[column] ?? ''))),
  );
  return lines
    .map((line) =>
      line
        .map((cell, column) => cell + ' '.repeat(widths[column]! - width(cell)))
        .join('  ')
        .trimEnd(),
    )
    .map((line) => `${line}\n`)
    .join('');
}

function width(text: string): number {
  return [...text].length;
}
