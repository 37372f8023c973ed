/** User and group names to numbers: /etc/passwd and /etc/group, else the system's name service (`getent`). */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';

/** Fields of a passwd or group entry; `key`: its name, or for a number the third field. */
function entry(database: 'passwd' | 'group', key: string): string[] | null {
  const numeric = /^\d+$/.test(key);
  if (!numeric && !/^[A-Za-z_][A-Za-z0-9_.@-]{0,255}\$?$/.test(key)) return null;
  const find = (text: string): string[] | null =>
    text
      .split('\n')
      .map((line) => line.split(':'))
      .find((fields) => fields[numeric ? 2 : 0] === key && /^\d+$/.test(fields[2] ?? '')) ?? null;
  let found: string[] | null = null;
  try {
    found = find(readFileSync(`/etc/${database}`, 'utf8'));
  } catch {
    // No such file in a container: the name service may still know.
  }
  if (found !== null) return found;
  const result = spawnSync('getent', ['--', database, key], {
    encoding: 'utf8',
    timeout: 2000,
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  return result.status === 0 ? find(result.stdout) : null;
}

/** The largest number; the next one means "none" to the kernel. */
export const MAX_ID = 4294967294;

function lookUp(database: 'passwd' | 'group', name: string): number | null {
  if (/^\d+$/.test(name)) return Number(name) <= MAX_ID ? Number(name) : null;
  const found = entry(database, name);
  return found === null ? null : Number(found[2]);
}

/** The user's number, or null when there is no such user. */
export function userId(user: string | number): number | null {
  return typeof user === 'number' ? user : lookUp('passwd', user);
}

/** The group's number, or null when there is no such group. */
export function groupId(group: string | number): number | null {
  return typeof group === 'number' ? group : lookUp('group', group);
}

/** The user's own group, or null when the user is not known. */
export function primaryGroupId(user: string | number): number | null {
  const field = entry('passwd', String(user))?.[3];
  return field !== undefined && /^\d+$/.test(field) ? Number(field) : null;
}
