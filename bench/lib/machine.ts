/**
 * What the machine is and what it is doing: description for the results, processor time of single processes and of
 * everything else, hugepages. Reads /proc and /sys only; hugepages are reserved as root and given back.
 */
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { cpus, release, totalmem } from 'node:os';
import { allowedCores } from '../../src/supervision/idle-cores.ts';

const TICKS_PER_SECOND = 100; // USER_HZ on x86_64

/** The two cores of a run: generator (and every helper) on one, the switch on the other. */
export interface Cores {
  generator: number;
  switch: number;
}

export interface MachineDescription {
  cpu: string;
  cores: number;
  memoryGiB: number;
  kernel: string;
  node: string;
  hugepages: boolean;
  versions: Record<string, string>;
}

/** First and last core this process may run on; throws when there is only one. */
export function chooseCores(): Cores {
  const allowed = [...allowedCores()];
  const generator = allowed[0];
  const other = allowed[allowed.length - 1];
  if (generator === undefined || other === undefined || generator === other) {
    throw new Error(
      'the benchmark needs two processor cores: one for the generator, one for the switch',
    );
  }
  return { generator, switch: other };
}

/** Seconds of processor time that a process has used (all its threads, reaped children not counted); 0 once it is gone. */
export function processSeconds(pid: number): number {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
  } catch {
    return 0;
  }
}

/** Processor time of each thread of a process, by thread name (names that occur twice are added up). */
export function threadSeconds(pid: number): Map<string, number> {
  const result = new Map<string, number>();
  let threads: string[] = [];
  try {
    threads = readdirSync(`/proc/${pid}/task`);
  } catch {
    return result;
  }
  for (const thread of threads) {
    try {
      const stat = readFileSync(`/proc/${pid}/task/${thread}/stat`, 'utf8');
      const end = stat.lastIndexOf(')');
      const fields = stat.slice(end + 2).split(' ');
      const name = stat.slice(stat.indexOf('(') + 1, end);
      const seconds = (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
      result.set(name, (result.get(name) ?? 0) + seconds);
    } catch {
      // The thread ended between the two reads.
    }
  }
  return result;
}

/**
 * Looks at a process's threads now; the result says, when called, how many seconds of processor time the `count` threads took that took most
 * since: of basewire under load, its turn workers.
 */
export function busiestThreads(pid: number): (count: number) => number {
  const look = () =>
    new Map(
      readdirSync(`/proc/${pid}/task`).map((thread) => {
        // Nanoseconds on a processor (sched-stats.rst).
        const schedstat = readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'utf8');
        return [thread, Number(schedstat.split(' ')[0]) / 1e9] as const;
      }),
    );
  const before = look();
  return (count) =>
    [...look()]
      .map(([thread, seconds]) => seconds - (before.get(thread) ?? 0))
      .sort((a, b) => b - a)
      .slice(0, count)
      .reduce((sum, seconds) => sum + seconds, 0);
}

/** Resident and proportional memory of a process in KiB. */
export function processMemory(pid: number): { residentKiB: number; anonymousKiB: number } {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  const read = (name: string) => Number(new RegExp(`${name}:\\s*(\\d+)`).exec(status)?.[1] ?? 0);
  return { residentKiB: read('VmRSS'), anonymousKiB: read('RssAnon') };
}

/** Counts of the whole machine since boot, in seconds of one core. */
export interface MachineSeconds {
  at: number;
  busy: number;
  steal: number;
}

export function machineSeconds(): MachineSeconds {
  const line = readFileSync('/proc/stat', 'utf8').split('\n', 1)[0] ?? '';
  const [user, nice, system, , , irq, softirq, steal] = line.split(/\s+/).slice(1).map(Number);
  return {
    at: performance.now() / 1000,
    busy: (user! + nice! + system! + irq! + softirq!) / TICKS_PER_SECOND,
    steal: steal! / TICKS_PER_SECOND,
  };
}

/** Watches how much of the machine went to others than the measured processes. */
export class NoiseMeter {
  private readonly pids: number[];
  private readonly start = machineSeconds();
  private readonly own: number;

  constructor(pids: number[]) {
    this.pids = pids;
    this.own = this.ownSeconds();
  }

  private ownSeconds(): number {
    return this.pids.reduce((sum, pid) => sum + processSeconds(pid), 0);
  }

  /** Share of one core that others used, and that the hypervisor took away, since construction. */
  read(): { foreign: number; steal: number } {
    const now = machineSeconds();
    const elapsed = now.at - this.start.at;
    const busy = now.busy - this.start.busy - (this.ownSeconds() - this.own);
    return {
      foreign: Math.max(0, busy / elapsed),
      steal: Math.max(0, (now.steal - this.start.steal) / elapsed),
    };
  }
}

const HUGEPAGES = '/proc/sys/vm/nr_hugepages';

/**
 * Makes sure that `pages` 2 MiB pages are free. Returns a function that gives them back, or null when the machine
 * does not let us (not root, memory too fragmented): then everything runs without hugepages.
 */
export function reserveHugepages(pages: number): (() => void) | null {
  const before = Number(readFileSync(HUGEPAGES, 'utf8'));
  const free = () =>
    Number(/HugePages_Free:\s*(\d+)/.exec(readFileSync('/proc/meminfo', 'utf8'))?.[1] ?? 0);
  const restore = () => writeFileSync(HUGEPAGES, String(before));
  if (free() >= pages) return () => {};
  try {
    writeFileSync(HUGEPAGES, String(before + pages - free()));
  } catch {
    return null;
  }
  if (free() >= pages) return restore;
  restore();
  return null;
}

function version(command: string, args: string[], pattern: RegExp): string {
  try {
    const text = execFileSync(command, args, {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    return pattern.exec(text)?.[1] ?? '';
  } catch {
    return '';
  }
}

export function describeMachine(hugepages: boolean): MachineDescription {
  return {
    cpu: cpus()[0]?.model ?? 'unknown',
    cores: cpus().length,
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    kernel: release(),
    node: process.version,
    hugepages,
    versions: {
      dpdk: version('dpkg-query', ['-W', 'dpdk-dev'], /\t(\S+)/),
      openvswitch: version('dpkg-query', ['-W', 'openvswitch-switch-dpdk'], /\t(\S+)/),
      iperf3: version('iperf3', ['--version'], /^iperf (\S+)/),
      qemu: version('qemu-system-x86_64', ['--version'], /version (\S+)/),
    },
  };
}
