/**
 * Which of the daemon's threads run where, when the configuration names cores for its turn workers (`datapath.cores`). Nothing else keeps
 * other processes from them: that is what cpusets and isolcpus are for.
 */
import { readdirSync } from 'node:fs';
import { CommandError, EXIT } from '../exit-codes.ts';
import { native } from '../native.ts';
import { usableCores } from './idle-cores.ts';

/**
 * Moves every thread of this process to the cores that are left without `cores`, where any are: Node's helper threads, which compile and collect for
 * the others some milliseconds at a time, would take them from the turn workers, which put themselves there. A thread that starts later begins where
 * the one that starts it is. Throws a CommandError for a core that no thread of ours can run on: only the kernel knows (the cores
 * that a process was started with need not be all that it may have). Returns warnings, one for each reason that threads could not be moved for.
 */
export function leaveCores(cores: readonly number[]): string[] {
  if (cores.length === 0) return [];
  const usable = usableCores();
  for (const core of cores) {
    try {
      native.setCores(0, Int32Array.of(core));
    } catch (error) {
      throw new CommandError(
        `datapath.cores: no thread can run on core ${core}: ${(error as Error).message}. ` +
          `This process may use ${usable.join(', ')}.`,
        EXIT.config,
      );
    } finally {
      native.setCores(0, Int32Array.from(usable));
    }
  }
  const others = Int32Array.from(usable.filter((core) => !cores.includes(core)));
  if (others.length === 0) return [];
  const reasons = new Set<string>();
  for (const thread of readdirSync('/proc/self/task')) {
    try {
      native.setCores(Number(thread), others);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code !== 'ESRCH') reasons.add(String(code)); // it ended meanwhile
    }
  }
  return [...reasons].map(
    (code) => `some threads stay on the turn workers’ cores: sched_setaffinity: ${code}`,
  );
}
