/**
 * How many of the processor cores that this process may use nobody else used: from /proc/stat, in the kernel's ticks, and the allowed cores of
 * /proc/self/status (proc(5)). Where either can't be read nothing is known, and nothing depends on it but the base's rests.
 */
import { readFileSync } from 'node:fs';

const IDLE = 3; // of a processor's times: user, nice, system, idle, iowait, ...
const IOWAIT = 4;

interface CoreTicks {
  online: number;
  idle: number;
  all: number;
}

/** Core numbers of a list such as "0-3,8". */
export function coreList(list: string): Set<number> {
  const cores = new Set<number>();
  for (const range of list.trim().split(',')) {
    const [first, last = first] = range.split('-').map(Number);
    for (let core = first; core <= last; core++) cores.add(core);
  }
  return cores;
}

/** Numbers of the cores that this process may use, or whoever `status` is of, online or not; throws where the kernel does not say. */
export function allowedCores(status = '/proc/self/status'): Set<number> {
  const list = /^Cpus_allowed_list:\s*(\S+)$/m.exec(readFileSync(status, 'utf8'))?.[1];
  if (list === undefined) throw new Error(`${status} names no cores`);
  return coreList(list);
}

/** Cores that run now, as the kernel says; null where it does not. */
export function onlineCores(): Set<number> | null {
  try {
    return coreList(readFileSync('/sys/devices/system/cpu/online', 'utf8'));
  } catch {
    return null;
  }
}

/** Cores that this process may use now: of those allowed the ones that run. */
export function usableCores(): number[] {
  const allowed = allowedCores();
  const online = onlineCores() ?? allowed;
  return [...allowed].filter((core) => online.has(core));
}

/** Of the cores in `stat` (as /proc/stat has them) that are among `cores`: how many there are, and their idle and all their ticks so far. */
export function coreTicks(stat: string, cores: ReadonlySet<number>): CoreTicks {
  let online = 0;
  let idle = 0;
  let all = 0;
  for (const [, core, numbers] of stat.matchAll(/^cpu(\d+) (.*)$/gm)) {
    if (!cores.has(Number(core))) continue;
    online++;
    // guest and guest_nice, behind the first eight, are counted in user and nice already.
    const times = numbers.trim().split(/\s+/).map(Number).slice(0, 8);
    idle += times[IDLE] + times[IOWAIT];
    for (const time of times) all += time;
  }
  return { online, idle, all };
}

export class IdleCores {
  private before: { ticks: CoreTicks; own: number; at: number } | null = null;

  /**
   * Cores that nobody else used, on average since the last call: idle ones and what this process used itself. Null the first time, and
   * where the kernel does not say.
   */
  read(): number | null {
    const { before } = this;
    this.before = null;
    try {
      const ticks = coreTicks(readFileSync('/proc/stat', 'utf8'), allowedCores());
      const { user, system } = process.cpuUsage(); // microseconds
      const own = (user + system) / 1000;
      const at = performance.now();
      this.before = { ticks, own, at };
      if (before === null) return null;
      const passed = ticks.all - before.ticks.all;
      if (passed <= 0) return null;
      const idle = ((ticks.idle - before.ticks.idle) / passed) * ticks.online;
      return idle + (own - before.own) / (at - before.at);
    } catch {
      return null;
    }
  }

  /** What comes next is measured from the call after it. */
  forget(): void {
    this.before = null;
  }
}
