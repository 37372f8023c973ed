/**
 * Where a benchmark runs: a folder for sockets and configurations, cores, hugepages, and whatever must be undone at the end of
 * a row or of all, in reverse order, also when the run is interrupted.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Cores, chooseCores, reserveHugepages } from './machine.ts';
import { endChildren, killChildren } from './process.ts';

/** 2 MiB pages that generator and peer together need; OVS-DPDK takes some 500, and serves no port when it finds fewer. */
const HUGEPAGES_NEEDED = 768;

export interface Timing {
  /** Interleaved rounds of every candidate. */
  rounds: number;
  /** Seconds between start of the traffic and the measurement. */
  warmup: number;
  /** Seconds of one measurement. */
  measure: number;
  quick: boolean;
}

export class Lab {
  readonly folder: string;
  readonly cores: Cores;
  readonly timing: Timing;
  readonly root = process.getuid?.() === 0;
  /** Short, different in each run: for names that the whole machine sees. */
  readonly unique = `bwb${process.pid}`;
  /** Mounted hugetlbfs, or null: DPDK then runs with ordinary pages. */
  readonly hugeDirectory: string | null;
  private readonly undo: (() => void)[] = [];
  /** How many of them are the lab's own, for as long as it lasts. */
  private readonly own: number;

  /** `hugepages`: reserves and mounts them, where it may. */
  constructor(timing: Timing, hugepages = true) {
    this.timing = timing;
    this.cores = chooseCores();
    this.folder = mkdtempSync(join(tmpdir(), 'basewire-bench-'));
    this.atEnd(() => rmSync(this.folder, { recursive: true, force: true }));
    this.hugeDirectory = hugepages ? this.mountHugepages() : null;
    this.own = this.undo.length;
  }

  /** Registers something to undo when the row ends. */
  atEnd(action: () => void): void {
    this.undo.push(action);
  }

  /** A new folder below the lab's own. */
  subfolder(name: string): string {
    const path = join(this.folder, name);
    rmSync(path, { recursive: true, force: true });
    mkdirSync(path, { recursive: true, mode: 0o700 });
    return path;
  }

  /** One line of progress. */
  say(text: string): void {
    process.stderr.write(`${new Date().toISOString().slice(11, 19)} ${text}\n`);
  }

  /** A row has ended, or failed: its processes end, and what it made is undone, so that the next one begins as the first did. */
  async endRow(): Promise<void> {
    await endChildren();
    this.undoFrom(this.own);
  }

  close(): void {
    killChildren();
    this.undoFrom(0);
  }

  private undoFrom(first: number): void {
    for (const action of this.undo.splice(first).reverse()) {
      try {
        action();
      } catch (error) {
        process.stderr.write(`cleaning up: ${(error as Error).message}\n`);
      }
    }
  }

  private mountHugepages(): string | null {
    if (!this.root) return null;
    const restore = reserveHugepages(HUGEPAGES_NEEDED);
    if (restore === null) return null;
    this.atEnd(restore);
    const path = this.subfolder('huge');
    try {
      execFileSync('mount', ['-t', 'hugetlbfs', 'nodev', path], { stdio: 'pipe' });
    } catch {
      return null;
    }
    this.atEnd(() => execFileSync('umount', ['-l', path], { stdio: 'pipe' }));
    return path;
  }
}
