/** The command line as a process of a test's own: what it prints, and how it ends. */
import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process';
import { onTestFinished } from 'vitest';
import { until } from './until.ts';

export interface Running {
  child: ChildProcess;
  stdout: () => string;
  stderr: () => string;
  exit: () => { code: number | null; signal: string | null } | null;
}

/** Starts a program, which is ended with the test. */
export function startProgram([program, ...words]: string[], options: SpawnOptions = {}): Running {
  const stdio = options.stdio ?? ['ignore', 'pipe', 'pipe'];
  const child = spawn(program!, words, { ...options, stdio });
  let exit: { code: number | null; signal: string | null } | null = null;
  const text = ['', ''];
  [child.stdout, child.stderr].forEach((stream, index) => {
    stream?.setEncoding('utf8').on('data', (part: string) => {
      text[index] += part;
    });
  });
  child.on('exit', (code, signal) => {
    exit = { code, signal };
  });
  onTestFinished(async () => {
    child.kill('SIGKILL');
    await until('the daemon to be gone', () => exit !== null);
  });
  return { child, stdout: () => text[0]!, stderr: () => text[1]!, exit: () => exit };
}

export const ended = (running: Running) => until('the end', () => running.exit(), 20_000);

export const ready = (running: Running) =>
  until(
    'ready',
    () => {
      if (running.exit()) throw new Error(`it ended: ${running.stdout()}${running.stderr()}`);
      return running.stdout().includes('"msg":"ready"');
    },
    20_000,
  );
