/** Puts a fault where the turn workers look for one (inject-faults.cjs): `file` says `what`, and is there whole at once. */
import { renameSync, writeFileSync } from 'node:fs';

export function inject(file: string, what: string): void {
  writeFileSync(`${file}.new`, what);
  renameSync(`${file}.new`, file);
}
