/**
 * Waiting for conditions in tests: looks again and again, gives the event loop its turn, and says what was missing
 * when the deadline passes.
 */

/** Generous: it only passes when something is wrong, or the machine has far too much to do. */
const DEADLINE = 12000;

/** Resolves with the first value of `look` that is neither false, null nor undefined. */
export async function until<T>(
  what: string,
  look: () => T | Promise<T>,
  milliseconds = DEADLINE,
): Promise<Exclude<T, false | null | undefined>> {
  const end = performance.now() + milliseconds;
  for (let round = 0; ; round++) {
    const value = await look();
    if (value !== false && value !== null && value !== undefined) {
      return value as Exclude<T, false | null | undefined>;
    }
    if (performance.now() > end) {
      throw new Error(`waited ${milliseconds} ms in vain for: ${what}`);
    }
    await pause(round < 20 ? 0 : 1);
  }
}

/** Gives way to the event loop; not for waiting on others by time. */
export function pause(milliseconds = 0): Promise<void> {
  return new Promise((resolve) => {
    if (milliseconds === 0) setImmediate(resolve);
    else setTimeout(resolve, milliseconds);
  });
}
