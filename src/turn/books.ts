/**
 * The books: what became of a datagram is entered where it came from, so that for every port received = delivered +
 * waiting + drops. What the base says by itself is in nobody's books, but missed where it was not taken.
 */
import { CELL, RECORD_CELLS } from '../counters.ts';
import type { TurnContext } from './context.ts';

const DELIVERED = CELL.delivered;
const MISSED = CELL.missed;
const WAITING = CELL.waiting;
// A module's own constants cost V8 nothing, imported ones a load and a check per use.
const RECORD = RECORD_CELLS;

export class Books {
  private readonly cells: Float64Array;

  constructor(context: TurnContext) {
    this.cells = context.cells;
  }

  /** Enters what became of a datagram from port `from` to port `to`: `outcome` is 0, or a drop cell. One of the base's own is `missed` by `to`. */
  settle(from: number, to: number, outcome: number): void {
    if (from >= 0) this.cells[from * RECORD + (outcome === 0 ? DELIVERED : outcome)]++;
    else if (outcome !== 0) this.cells[to * RECORD + MISSED]++;
  }

  /** `count` datagrams of a port were delivered, or the base answered them. */
  delivered(from: number, count: number): void {
    if (from >= 0) this.cells[from * RECORD + DELIVERED] += count;
  }

  /** A datagram was dropped for the reason in `cell`. */
  dropped(from: number, cell: number): void {
    if (from >= 0) this.cells[from * RECORD + cell]++;
  }

  /** `change` more datagrams of a port wait. */
  waiting(from: number, change: number): void {
    if (from >= 0) this.cells[from * RECORD + WAITING] += change;
  }
}
