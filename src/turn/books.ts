/**
 * The books: what became of a datagram is entered where it came from, so that for every port received = delivered +
 * waiting + drops. What the base says by itself is in nobody's books, but missed where it was not taken.
 */
import type { Adapter } from '../adapter/adapter.ts';
import { CELL } from '../counters.ts';
import type { Port } from '../port/port.ts';
import type { TurnContext } from './context.ts';

// Read once: the table of cells is too large for V8 to keep as a fast object.
const DELIVERED = CELL.delivered;
const MISSED = CELL.missed;
const WAITING = CELL.waiting;

export class Books {
  readonly cells: Float64Array;
  private readonly ports: Port[];
  private readonly adapters: Adapter[];

  constructor(context: TurnContext) {
    this.cells = context.counters.cells;
    this.ports = context.ports;
    this.adapters = context.adapters;
  }

  /** Enters what became of a datagram into the books of where it came from. `outcome`: 0, or a drop cell. */
  settle(from: number, to: number, outcome: number): void {
    if (from >= 0) this.cells[this.recordOf(from) + (outcome === 0 ? DELIVERED : outcome)]++;
    else if (outcome !== 0) this.cells[this.recordOf(to) + MISSED]++;
  }

  /** First counter cell of a port or adapter. */
  recordOf(port: number): number {
    return port < this.ports.length
      ? this.ports[port].record
      : this.adapters[port - this.ports.length].record;
  }

  /** `count` datagrams of a port were delivered, or the base answered them. */
  delivered(from: number, count: number): void {
    if (from >= 0) this.cells[this.recordOf(from) + DELIVERED] += count;
  }

  /** A datagram was dropped for the reason in `cell`. */
  dropped(from: number, cell: number): void {
    if (from >= 0) this.cells[this.recordOf(from) + cell]++;
  }

  /** `change` more datagrams of a port wait. */
  waiting(from: number, change: number): void {
    if (from >= 0) this.cells[this.recordOf(from) + WAITING] += change;
  }
}
