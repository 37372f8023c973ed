/** A turn worker's signs of life, and what its keeper in the main thread tells it, in memory that both share: Int32 cells. */
export const BEAT = {
  /** Loop rounds, for the watchdog: must move at least once a second. */
  rounds: 0,
  /** 1 while the worker sits in its native wait. */
  waiting: 1,
  /** How often it went to sleep. */
  waits: 2,
  /** 1, from the main thread: the host's cores are all in use (supervision/crowd.ts). */
  crowded: 3,
  /** 1, from the main thread: it is to end, and should not go on with its start. */
  ending: 4,
  cells: 8,
} as const;
