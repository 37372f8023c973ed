/**
 * Descriptors that a dead turn worker left behind.
 *
 * The worker's sockets, eventfds and epoll instances are plain numbers, which Node does not close when the thread ends.
 * Left open, every front-end would wait for ever on a connection that nobody serves. So before the first worker starts we
 * note which descriptors exist, and after one has died whatever else is open gets closed.
 */
import { closeSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';

/** What a descriptor is, in words that another one with the same number does not share. */
function identity(fd: number): string | null {
  try {
    const target = readlinkSync(`/proc/self/fd/${fd}`);
    if (!target.startsWith('anon_inode:')) return target;
    // All eventfds have the same link; the id tells those apart that are open at the same time (Linux 5.2).
    const info = readFileSync(`/proc/self/fdinfo/${fd}`, 'latin1');
    return target + (/^eventfd-id:.*$/m.exec(info)?.[0] ?? '');
  } catch {
    return null; // closed meanwhile, such as the folder's own descriptor
  }
}

export type Descriptors = ReadonlyMap<number, string>;

/** All open descriptors of this process. */
export function openDescriptors(): Descriptors {
  const found = new Map<number, string>();
  for (const name of readdirSync('/proc/self/fd')) {
    const fd = Number(name);
    const what = identity(fd);
    if (what !== null) found.set(fd, what);
  }
  return found;
}

/**
 * Closes the descriptors that were not open in `before` and are not in `keep`; pipes too are left alone, they belong to
 * child processes. Call when no worker runs. Returns how many were closed.
 */
export function closeLeftovers(before: Descriptors, keep: Iterable<number>): number {
  const kept = new Set(keep);
  let closed = 0;
  for (const [fd, what] of openDescriptors()) {
    if (fd <= 2 || kept.has(fd) || before.get(fd) === what || what.startsWith('pipe:')) continue;
    try {
      closeSync(fd);
      closed += 1;
    } catch {
      // Closed meanwhile.
    }
  }
  return closed;
}
