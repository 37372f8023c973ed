/**
 * Child processes of a benchmark: started pinned, spoken to over standard input, waited for by what they print, and ended with
 * certainty, also when the benchmark itself is interrupted.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { setPriority } from 'node:os';

let niceness = 0;

/** Everything started from now on gets this priority (-20 to 0; below 0 as root only). Returns what it was. */
export function setNiceness(value: number): number {
  const before = niceness;
  niceness = value;
  return before;
}

/** Where the kernel groups processes by session (autogroup), the group's niceness is what counts between sessions. */
function prioritise(pid: number | undefined): void {
  if (niceness === 0 || pid === undefined) return;
  try {
    writeFileSync(`/proc/${pid}/autogroup`, String(niceness));
  } catch {
    // No autogroups here, or the process is gone already.
  }
}

/** Gives a thread of the kernel that works for a candidate the candidates' priority. */
export function prioritiseThread(thread: number): void {
  if (niceness !== 0) setPriority(thread, niceness);
}

const alive = new Set<Child>();

export interface ChildOptions {
  /** Core or cores to run on; absent: wherever. */
  core?: number | number[];
  env?: Record<string, string>;
  /** Name of a network namespace to run in. */
  namespace?: string;
  cwd?: string;
}

/** One child process and all it has printed so far (both streams together). */
export class Child {
  readonly name: string;
  readonly process: ChildProcess;
  /** Everything printed, and what of it went to standard output: the rest may come in the middle of a word. */
  output = '';
  printed = '';
  private ended: string | null = null;
  private readonly waiting = new Set<() => void>();

  constructor(name: string, command: string, args: string[], options: ChildOptions = {}) {
    this.name = name;
    let line = [command, ...args];
    if (niceness !== 0) line = ['nice', '-n', String(niceness), ...line];
    if (options.core !== undefined) line = ['taskset', '-c', String(options.core), ...line];
    if (options.namespace !== undefined) line = ['ip', 'netns', 'exec', options.namespace, ...line];
    this.process = spawn(line[0]!, line.slice(1), {
      stdio: ['pipe', 'pipe', 'pipe'],
      env: { ...process.env, ...options.env },
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
      detached: true, // a session of its own: the terminal's interrupt comes to us alone, and see prioritise()
    });
    prioritise(this.process.pid);
    alive.add(this);
    const append = (chunk: Buffer) => {
      this.output += chunk.toString('latin1');
      this.wake();
    };
    this.process.stdout?.on('data', (chunk: Buffer) => {
      this.printed += chunk.toString('latin1');
      append(chunk);
    });
    this.process.stderr?.on('data', append);
    this.process.stdin?.on('error', () => {});
    const end = (reason: string) => {
      this.ended ??= reason;
      alive.delete(this);
      this.wake();
    };
    this.process.on('error', (error) => end(error.message));
    this.process.on('exit', (code, signal) => end(signal ?? `exit code ${code}`));
  }

  get pid(): number {
    return this.process.pid ?? 0;
  }

  get running(): boolean {
    return this.ended === null;
  }

  /** Throws, with its last output, when it has ended: what was measured meanwhile says nothing. */
  mustRun(): void {
    if (this.ended !== null) throw this.failure(`ended (${this.ended}) while it was measured`);
  }

  write(text: string): void {
    this.process.stdin?.write(text);
  }

  /** Waits until `found` gives something else than null; throws with the last output when it ends or time is up. */
  async until<T>(found: (output: string) => T | null, what: string, seconds = 30): Promise<T> {
    const deadline = performance.now() + seconds * 1000;
    for (;;) {
      const result = found(this.output);
      if (result !== null) return result;
      if (this.ended !== null) throw this.failure(`ended (${this.ended}) before: ${what}`);
      const left = deadline - performance.now();
      if (left <= 0) throw this.failure(`no sign within ${seconds} s of: ${what}`);
      await new Promise<void>((resolve) => {
        const done = () => {
          clearTimeout(timer);
          this.waiting.delete(done);
          resolve();
        };
        const timer = setTimeout(done, left);
        this.waiting.add(done);
      });
    }
  }

  /** Asks with `signal`, and kills after `seconds`. Resolves when the process is gone. */
  async stop(signal: NodeJS.Signals = 'SIGTERM', seconds = 8): Promise<void> {
    if (!this.running) return;
    const gone = once(this.process, 'exit').catch(() => {});
    this.process.kill(signal);
    const timer = setTimeout(() => this.process.kill('SIGKILL'), seconds * 1000);
    await gone;
    clearTimeout(timer);
  }

  private failure(text: string): Error {
    return new Error(`${this.name}: ${text}\n${this.output.slice(-1500)}`);
  }

  private wake(): void {
    for (const done of [...this.waiting]) done();
  }
}

/** Kills what still runs, and waits until it is gone. */
export async function endChildren(): Promise<void> {
  await Promise.all([...alive].map((child) => child.stop('SIGKILL')));
}

/** Kills what still runs; for the way out. */
export function killChildren(): void {
  for (const child of alive) child.process.kill('SIGKILL');
}

/** Runs a command to its end; its standard output. Throws with what it printed. */
export async function run(
  command: string,
  args: string[],
  options: ChildOptions = {},
): Promise<string> {
  const child = new Child(command, command, args, options);
  child.process.stdin?.end();
  const [code] = (await once(child.process, 'close')) as [number | null];
  if (code !== 0)
    throw new Error(
      `${command} ${args.join(' ')}: exit code ${code}\n${child.output.slice(-1500)}`,
    );
  return child.output;
}

export function sleep(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

/** Waits for a condition, looking every few milliseconds; throws when time is up. */
export async function waitFor(condition: () => boolean, what: string, seconds = 20): Promise<void> {
  const deadline = performance.now() + seconds * 1000;
  while (!condition()) {
    if (performance.now() > deadline) throw new Error(`no sign within ${seconds} s of: ${what}`);
    await sleep(10);
  }
}
