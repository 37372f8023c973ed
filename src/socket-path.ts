/** What may stand where a socket is to be made: a socket, which the daemon looks at closer when it starts (`socket-file.ts`). */
import type { BigIntStats, Stats } from 'node:fs';

/** What is wrong with what stands there, itself, and what to do; '' when it is a socket. */
export function obstacle(found: Stats | BigIntStats): string {
  if (found.isSymbolicLink()) return 'is a symbolic link, which is not followed: remove it';
  return found.isSocket() ? '' : 'exists and is not a socket: remove it, or choose another path';
}
