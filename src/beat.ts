/** A turn worker's signs of life, in memory that it shares with the watchdog of the main thread: Int32 cells. */
export const BEAT = {
  /** Loop rounds, for the watchdog: must move at least once a second. */
  rounds: 0,
  /** 1 while the worker sits in its native wait. */
  waiting: 1,
  cells: 8,
} as const;
