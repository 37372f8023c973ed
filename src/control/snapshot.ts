/**
 * Leases over a restart: what is written, and reading it back as if anybody could have written it.
 */
export interface SnapshotEntry {
  /** Names of the configuration. */
  adapter: string;
  holder: string;
  secondsLeft: number;
}

export interface Snapshot {
  version: 1;
  adapters: SnapshotEntry[];
}

/** A configuration has fewer adapters. */
const MAX_ENTRIES = 256;

/** The well-formed entries of `from`, which may be anything. */
export function readSnapshot(from: unknown): SnapshotEntry[] {
  if (!isObject(from) || from.version !== 1 || !Array.isArray(from.adapters)) return [];
  return from.adapters.slice(0, MAX_ENTRIES).flatMap((entry: unknown) => {
    if (!isObject(entry)) return [];
    const { adapter, holder, secondsLeft } = entry;
    const whole =
      typeof adapter === 'string' &&
      typeof holder === 'string' &&
      typeof secondsLeft === 'number' &&
      secondsLeft > 0;
    return whole ? [{ adapter, holder, secondsLeft }] : [];
  });
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}
