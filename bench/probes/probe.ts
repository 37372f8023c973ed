/** What the probes share: they are programs of their own (so that they can be pinned), get one JSON argument and print one JSON line. */
import { execFileSync } from 'node:child_process';

export function argument<T>(): T {
  return JSON.parse(process.argv[2] ?? '{}') as T;
}

export function result(value: unknown): void {
  process.stdout.write(`RESULT ${JSON.stringify(value)}\n`);
}

/**
 * From now on the calling thread, the main one, comes before every ordinary process of its core as soon as it has something to do (SCHED_FIFO;
 * root). Node's other threads, which there are already, don't: at the same priority they would keep it waiting.
 */
export function comeFirst(): void {
  execFileSync('chrt', ['--fifo', '--pid', '1', String(process.pid)]);
}
