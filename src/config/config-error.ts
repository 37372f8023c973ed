/**
 * What is wrong with a configuration, for people: `FILE:LINE:COLUMN: path.to.key: what is wrong, what to do`. Loads nothing that the
 * commands without a configuration don't need.
 */
import { printable } from '../printable.ts';
import type { Complaint, Path } from './source.ts';

/** All complaints about a file, in the order in which they stand in it. */
export class ConfigError extends Error {
  readonly file: string;
  readonly complaints: Complaint[];

  constructor(file: string, complaints: Complaint[]) {
    const sorted = complaints.toSorted((a, b) => a.line - b.line || a.column - b.column);
    const lines = new Set(sorted.map((complaint) => formatComplaint(file, complaint)));
    super([...lines].join('\n'));
    this.name = 'ConfigError';
    this.file = file;
    this.complaints = sorted;
  }
}

/** One line, without control characters. */
function formatComplaint(file: string, complaint: Complaint): string {
  const path = formatPath(complaint.path);
  const where = `${file}:${complaint.line}:${complaint.column}: `;
  return printable(where + (path && `${path}: `) + complaint.text);
}

/** `vms.web.addresses[0]` */
export function formatPath(path: Path): string {
  let text = '';
  for (const step of path) {
    text += typeof step === 'number' ? `[${step}]` : `${text && '.'}${String(step)}`;
  }
  return text;
}
