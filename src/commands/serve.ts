/** The daemon in a process of its own, however it was started. */
import type { Daemon } from '../daemon.ts';
import { ignoreSignals } from '../signals.ts';

/** Runs it until it ends; the exit code. Throws as `Daemon.run`. */
export function serve(daemon: Daemon): Promise<number> {
  // Its own handlers go a little before the process does: another one then would make a failure of its end.
  ignoreSignals('SIGTERM', 'SIGINT');
  // No file system is kept from being unmounted; and no thread starts in a folder that was removed.
  process.chdir('/');
  return daemon.run();
}
