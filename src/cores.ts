/** Processor cores: which there are for this process, and who of it runs where (sched_setaffinity(2), `datapath.cores`). */
import { readdirSync, readFileSync } from 'node:fs';
import { native } from './native.ts';

/** Core numbers of a list such as "0-3,8". */
export function coreList(list: string): Set<number> {
  const cores = new Set<number>();
  for (const range of list.trim().split(',')) {
    const [first, last = first] = range.split('-').map(Number);
    for (let core = first; core <= last; core++) cores.add(core);
  }
  return cores;
}

/** Numbers of the cores that this process may use; throws where the kernel does not say. */
export function allowedCores(): Set<number> {
  const status = readFileSync('/proc/self/status', 'utf8');
  return coreList(/^Cpus_allowed_list:\s*(\S+)$/m.exec(status)?.[1] ?? '');
}

/**
 * Moves every thread of this process to the cores that are left without `cores`, where any are: Node's helper threads, which compile and collect for
 * the others some milliseconds at a time, would take them from the turn workers. Threads that start later begin where the caller is.
 */
export function leaveCores(cores: readonly number[]): void {
  const others = Int32Array.from([...allowedCores()].filter((core) => !cores.includes(core)));
  if (cores.length === 0 || others.length === 0) return;
  for (const thread of readdirSync('/proc/self/task')) {
    try {
      native.setCores(Number(thread), others);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error; // it ended meanwhile
    }
  }
}
