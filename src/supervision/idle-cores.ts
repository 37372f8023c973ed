/**
 * How many of the processor cores that this process may use were idle: from /proc/stat, in the kernel's ticks, and the allowed cores of
 * /proc/self/status (proc(5)). Where either can't be read nothing is known, and nothing depends on it but the base's rests.
 */
import { readFileSync } from 'node:fs';

const IDLE = 3; // of a processor's times: user, nice, system, idle, iowait, ...
const IOWAIT = 4;

/** Core numbers of a list such as "0-3,8". */
export function coreList(list: string): Set<number> {
  const cores = new Set<number>();
  for (const range of list.trim().split(',')) {
    const [first, last = first] = range.split('-').map(Number);
    for (let core = first; core <= last; core++) cores.add(core);
  }
  return cores;
}

/** Idle and all ticks so far, summed over `cores`. */
export function coreTicks(stat: string, cores: ReadonlySet<number>): { idle: number; all: number } {
  let idle = 0;
  let all = 0;
  for (const [, core, numbers] of stat.matchAll(/^cpu(\d+) (.*)$/gm)) {
    if (!cores.has(Number(core))) continue;
    // guest and guest_nice, behind the first eight, are counted in user and nice already.
    const times = numbers.trim().split(/\s+/).map(Number).slice(0, 8);
    idle += times[IDLE] + times[IOWAIT];
    for (const time of times) all += time;
  }
  return { idle, all };
}

export class IdleCores {
  private before: { idle: number; all: number } | null = null;

  /** Cores idle on average since the last call; null the first time, and where the kernel does not say. */
  read(): number | null {
    const { before } = this;
    this.before = null;
    try {
      const status = readFileSync('/proc/self/status', 'utf8');
      const cores = coreList(/^Cpus_allowed_list:\s*(\S+)$/m.exec(status)?.[1] ?? '');
      const now = coreTicks(readFileSync('/proc/stat', 'utf8'), cores);
      this.before = now;
      const passed = before === null ? 0 : now.all - before.all;
      return passed > 0 ? ((now.idle - before!.idle) / passed) * cores.size : null;
    } catch {
      return null;
    }
  }

  /** What comes next is measured from the call after it. */
  forget(): void {
    this.before = null;
  }
}
