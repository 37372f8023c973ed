/** Signals that a process outlives where the daemon's own handlers (daemon.ts) are not there yet, or not any more. */

/** Has these signals do nothing, beside what else listens to them. For as long as the process lives. */
export function ignoreSignals(...signals: NodeJS.Signals[]): void {
  for (const signal of signals) process.on(signal, () => {});
}
