/**
 * What `to[slot]` says besides a port number (>= 0).
 */
import { CELL, type DropReason } from '../counters.ts';

/** The base itself answered or took it: counts as delivered. */
export const CONSUMED = -1;
/** It waits for a neighbour's address and is counted when it leaves there; or is a copy in nobody's books that goes nowhere. */
export const HELD = -2;
/** Not decided yet. */
export const UNDECIDED = -3;
/** Goes to every other port of its network. */
export const BROADCAST = -4;

/** The worker that owns the adapters decides: handed over to it. */
export const AT_ADAPTERS = -5;
/** A broadcast of another worker's VM: goes to every VM of its network that is here. */
export const BROADCAST_HERE = -6;

/** Cut: what goes on are the slots `firstPiece` and behind it, `pieces` of them, in its place. */
export const IN_PIECES = -7;

/** Drops are this and below, in the order of their cells. */
const FIRST = -16;

/** The verdict that drops a datagram for `reason`; build it once, at module load. */
export function drop(reason: DropReason): number {
  return FIRST - CELL[reason];
}

/** The verdict for a drop cell, as `checkOffload` and `Neighbours.resolve` return it. */
export function dropCell(cell: number): number {
  return FIRST - cell;
}

/** True for a verdict made by `drop`. */
export function isDrop(verdict: number): boolean {
  return verdict <= FIRST;
}

/** The counter cell of a drop verdict. */
export function cellOf(verdict: number): number {
  return FIRST - verdict;
}
