// A child process that we own: its output kept, its end awaited or brought about, never left over.

import { type ChildProcess, spawn } from 'node:child_process';
import { atEnd } from './cleanup.ts';
import { within } from './wait.ts';

const KEPT = 256 * 1024;

/** How a process is started. */
export interface StartOptions {
  cwd?: string;
  env?: NodeJS.ProcessEnv;
}

/** A started program. `output` is the last 256 KiB of both its streams. */
export class Process {
  readonly child: ChildProcess;
  readonly name: string;
  /** Resolves with the exit code, or the signal's name, once it has ended. */
  readonly ended: Promise<number | string>;
  output = '';
  /** The exit code or signal; undefined while it runs. */
  status: number | string | undefined;

  constructor(name: string, program: string, args: string[], options: StartOptions = {}) {
    this.name = name;
    this.child = spawn(program, args, { ...options, stdio: ['pipe', 'pipe', 'pipe'] });
    const done = atEnd(() => this.child.kill('SIGKILL'));
    const keep = (data: Buffer): void => {
      this.output = (this.output + data.toString('utf8')).slice(-KEPT);
    };
    this.child.stdout?.on('data', keep);
    this.child.stderr?.on('data', keep);
    this.child.stdin?.on('error', () => {});
    this.ended = new Promise((resolve) => {
      const end = (status: number | string): void => {
        this.status ??= status;
        done();
        resolve(this.status);
      };
      this.child.on('error', (error) => {
        this.output += `${error.message}\n`;
        end(127);
      });
      this.child.on('close', (code, signal) => end(code ?? signal ?? 'unknown'));
    });
  }

  get pid(): number {
    return this.child.pid ?? -1;
  }

  /** Sends `signal` and waits for the end; after `deadline` milliseconds, SIGKILL. */
  async stop(signal: NodeJS.Signals = 'SIGTERM', deadline = 5000): Promise<number | string> {
    if (this.status !== undefined) return this.status;
    this.child.kill(signal);
    try {
      return await within(`the end of ${this.name}`, deadline, this.ended);
    } catch {
      this.child.kill('SIGKILL');
      return await this.ended;
    }
  }
}
