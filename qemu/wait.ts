// Waiting with a deadline: for a condition that is polled, and for a promise.

/** @returns after `milliseconds` */
export function sleep(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

/**
 * Polls `look` until it gives something other than undefined or false.
 * @param what for the error: "waited 5 s for WHAT"
 * @param deadline in milliseconds
 */
export async function until<T>(
  what: string,
  deadline: number,
  look: () => T | Promise<T>,
  interval = 50,
): Promise<Exclude<T, undefined | false>> {
  const end = Date.now() + deadline;
  for (;;) {
    const value = await look();
    if (value !== undefined && value !== false) return value as Exclude<T, undefined | false>;
    if (Date.now() > end) throw new Error(`waited ${deadline / 1000} s for ${what}`);
    await sleep(interval);
  }
}

/** @returns what `promise` gives, if it does so within `deadline` milliseconds */
export async function within<T>(what: string, deadline: number, promise: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(
      () => reject(new Error(`waited ${deadline / 1000} s for ${what}`)),
      deadline,
    );
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
