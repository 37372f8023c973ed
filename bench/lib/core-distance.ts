/**
 * How far the two cores of a run are from each other just now. Virtual processors move: a host may run both on cores that share a cache, and a second later on
 * ones that do not, and a line then takes several times as long. What was measured near and what was measured far can't be compared.
 */
import { execFileSync } from 'node:child_process';
import { closeSync } from 'node:fs';
import { native } from '../../src/native.ts';
import type { Argument, Reading } from '../probes/line.ts';
import type { Lab } from './lab.ts';
import { Probe } from './probe.ts';

/** Nanoseconds for a line there and back below which two cores share a cache: on one die some 20 to 100, across dies or sockets 150 and more. */
const NEAR = 130;

/** `changed`: not the same before and behind a measurement. */
export type Distance = 'near' | 'far' | 'changed' | 'unknown';

/** What is compared round by round: where the cores were meanwhile. */
export interface Placed {
  distance: Distance;
}

export class CoreDistance {
  private readonly page: number;
  private readonly root: boolean;
  private readonly asker: Probe;
  private readonly answerer: Probe;

  constructor(lab: Lab) {
    this.root = lab.root;
    this.page = native.memfd('line', 4096, false);
    const start = (core: number, asks: boolean) =>
      new Probe(
        lab,
        'line',
        { path: `/proc/${process.pid}/fd/${this.page}`, asks } satisfies Argument,
        { core },
      );
    this.asker = start(lab.cores.generator, true);
    this.answerer = start(lab.cores.switch, false);
  }

  get pids(): number[] {
    return [this.asker.child.pid, this.answerer.child.pid];
  }

  /** Takes some milliseconds of both cores. */
  async measure(): Promise<Distance> {
    this.schedule('-f', 1);
    this.answerer.child.write('\n');
    this.asker.child.write('\n');
    const nanoseconds = await this.reading();
    this.schedule('-o', 0);
    if (nanoseconds === null) return 'unknown';
    return nanoseconds < NEAR ? 'near' : 'far';
  }

  /** null when there is none in time: one of the runtime's helpers may be waiting for the core, see `schedule`. */
  private async reading(): Promise<number | null> {
    try {
      return (await this.asker.result<Reading>(3)).nanoseconds;
    } catch {
      this.schedule('-o', 0);
      await this.asker.result<Reading>(20);
      return null;
    }
  }

  /**
   * Before all others on their cores while they measure (root), and no longer, and their main threads alone: under SCHED_FIFO a runtime
   * whose helpers wait for the same core turns for ever.
   */
  private schedule(policy: '-f' | '-o', priority: number): void {
    if (!this.root) return;
    for (const pid of this.pids)
      execFileSync('chrt', [policy, '-p', String(priority), String(pid)], { stdio: 'ignore' });
  }

  /** Runs a measurement, and says where the cores were: before it began as when it had ended, or `changed`. */
  async around<T>(measurement: () => Promise<T>): Promise<T & Placed> {
    const before = await this.measure();
    const result = await measurement();
    const after = await this.measure();
    return { ...result, distance: before === after ? before : 'changed' };
  }

  async stop(): Promise<void> {
    await Promise.all([this.asker.stop(), this.answerer.stop()]);
    closeSync(this.page);
  }
}

/** Pairs of measurements of two candidates with their cores placed alike: the first of one near with the first of the other near, and so on. */
export function pairs<T extends Placed>(ours: readonly T[], theirs: readonly T[]): [T, T][] {
  return (['near', 'far'] as const).flatMap((distance) => {
    const alike = ({ distance: at }: Placed) => at === distance;
    const others = theirs.filter(alike);
    return ours.filter(alike).flatMap((one, index): [T, T][] => {
      const other = others[index];
      return other === undefined ? [] : [[one, other]];
    });
  });
}
