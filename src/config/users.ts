/** User and group names to numbers: /etc/passwd and /etc/group, else the system's name service (`getent`). */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';

function lookUp(database: 'passwd' | 'group', name: string): number | null {
  if (/^\d+$/.test(name)) return Number(name);
  if (!/^[A-Za-z_][A-Za-z0-9_.@-]{0,255}\$?$/.test(name)) return null;
  const find = (text: string): number | null => {
    const line = text.split('\n').find((entry) => entry.startsWith(`${name}:`));
    const id = Number(line?.split(':')[2]);
    return line === undefined || !Number.isInteger(id) ? null : id;
  };
  let id: number | null = null;
  try {
    id = find(readFileSync(`/etc/${database}`, 'utf8'));
  } catch {
    // No such file in a container: the name service may still know.
  }
  if (id !== null) return id;
  const result = spawnSync('getent', ['--', database, name], {
    encoding: 'utf8',
    timeout: 2000,
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  return result.status === 0 ? find(result.stdout) : null;
}

/** The user's number, or null when there is no such user. */
export function userId(user: string | number): number | null {
  return typeof user === 'number' ? user : lookUp('passwd', user);
}

/** The group's number, or null when there is no such group. */
export function groupId(group: string | number): number | null {
  return typeof group === 'number' ? group : lookUp('group', group);
}
