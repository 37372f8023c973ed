/**
 * Plain tables for people: columns as wide as their widest cell, two spaces between, numbers at the right of theirs, no control
 * characters.
 */
import { printable } from '../printable.ts';

export function table(head: string[], rows: string[][]): string {
  const lines = [head, ...rows].map((line) => line.map(printable));
  const widths = head.map((_, column) =>
    Math.max(...lines.map((line) => width(line[column] ?? ''))),
  );
  const atRight = head.map((_, column) => isNumeric(lines.slice(1).map((line) => line[column]!)));
  const place = (cell: string, column: number) => {
    const space = ' '.repeat(widths[column]! - width(cell));
    return atRight[column] ? space + cell : cell + space;
  };
  return lines
    .map((line) => line.map(place).join('  ').trimEnd())
    .map((line) => `${line}\n`)
    .join('');
}

/** Numbers, with a unit or not, and places where there is none. */
function isNumeric(cells: string[]): boolean {
  const isNumber = (cell: string) => /^\d+( s)?$/.test(cell);
  return cells.some(isNumber) && cells.every((cell) => cell === '-' || isNumber(cell));
}

function width(text: string): number {
  return [...text].length;
}
