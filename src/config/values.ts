/** Looking into values of which nothing is known yet. */
import type { Path } from './source.ts';

/** Takes one finding: where, what, and whether the key or the value is meant. */
export type Complain = (path: Path, text: string, which?: 'key' | 'value') => void;

/** The value as a mapping; null when it is none. */
export function mapping(value: unknown): Record<string, unknown> | null {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
    ? (value as Record<string, unknown>)
    : null;
}

/** The value as a list; empty when it is none. */
export function list(value: unknown): unknown[] {
  return Array.isArray(value) ? value : [];
}
