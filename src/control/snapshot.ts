/**
 * Leases over a restart: what is written, and reading it back as if anybody could have written it.
 */
export interface SnapshotEntry {
  /** Names of the configuration. */
  adapter: string;
  /** Null: nobody holds it, and it is open all the same (`onControllerLoss: keep`). */
  holder: string | null;
  /** 0 where nobody holds it. */
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
  return from.adapters.slice(0, MAX_ENTRIES).flatMap((entry: unknown): SnapshotEntry[] => {
    if (!isObject(entry)) return [];
    const { adapter, holder, secondsLeft } = entry;
    if (typeof adapter !== 'string') return [];
    if (holder === null) return [{ adapter, holder, secondsLeft: 0 }];
    const whole = typeof holder === 'string' && typeof secondsLeft === 'number' && secondsLeft > 0;
    return whole ? [{ adapter, holder, secondsLeft }] : [];
  });
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}
