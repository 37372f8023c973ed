/**
 * The copies of one stage as rows of plain numbers, carried out by one native call. The addon checks every row again.
 */
import { COPY_ROW, type Native } from '../native.ts';

/** A row in doubles, and in words. */
const DOUBLES = COPY_ROW.bytes / 8;
const WORDS = COPY_ROW.bytes / 4;
const { region: REGION, arena: ARENA, length: LENGTH } = COPY_ROW;

/** Where bytes were copied from or to, and how many. */
export interface Copied {
  region: number;
  offset: number;
  length: number;
}

export class CopyList {
  /** The list two ways, as COPY_ROW says. */
  readonly offsets: Float64Array;
  readonly cells: Int32Array;
  /** How many there can be. */
  readonly rows: number;
  /** Rows filled so far. */
  count = 0;
  /** Rows that the last call carried out; they still stand in the list. */
  carried = 0;
  /** Which stage is under way: deliver (arena → regions) or gather. */
  delivering = false;
  /** Rows the addon refused since the start: a fault of ours, never a guest's. */
  refused = 0;
  private readonly native: Native;

  constructor(native: Native, rows: ArrayBuffer) {
    this.native = native;
    this.offsets = new Float64Array(rows);
    this.cells = new Int32Array(rows);
    this.rows = Math.floor(rows.byteLength / COPY_ROW.bytes);
  }

  /** Adds: `length` bytes between `offset` of a mapped region and `arena` of the arena. The caller keeps count < rows. */
  add(region: number, offset: number, arena: number, length: number): void {
    const row = this.count;
    this.offsets[row * DOUBLES] = offset;
    const cell = row * WORDS;
    this.cells[cell + REGION] = region;
    this.cells[cell + ARENA] = arena;
    this.cells[cell + LENGTH] = length;
    this.count = row + 1;
  }

  /**
   * Of the rows [0, rows), carried out or not, those whose bytes in the arena begin within [start, end): where the first of them lies, and how many bytes
   * all have; null: there is none.
   */
  within(start: number, end: number, rows: number): Copied | null {
    let first = -1;
    let length = 0;
    for (let row = 0; row < rows; row++) {
      const arena = this.cells[row * WORDS + ARENA];
      if (arena < start || arena >= end) continue;
      if (first < 0) first = row;
      length += this.cells[row * WORDS + LENGTH];
    }
    if (first < 0) return null;
    const { region, offset } = this.row(first);
    return { region, offset, length };
  }

  /** What stands in a row, carried out or not. */
  row(row: number): { region: number; offset: number; arena: number; length: number } {
    const cell = row * WORDS;
    return {
      region: this.cells[cell + REGION],
      offset: this.offsets[row * DOUBLES],
      arena: this.cells[cell + ARENA],
      length: this.cells[cell + LENGTH],
    };
  }

  /** Carries out what is listed, in the direction of the stage that is under way. */
  flush(): void {
    if (this.delivering) this.deliver();
    else this.gather();
  }

  /** One small copy into the arena right now, whatever the stage: what is listed so far is carried out first. */
  fetch(region: number, offset: number, arena: number, length: number): void {
    this.flush();
    this.add(region, offset, arena, length);
    this.gather();
  }

  /** Regions → arena. */
  gather(): void {
    if (this.count === 0) return;
    this.refused += this.native.gatherCopies(this.count);
    this.carried = this.count;
    this.count = 0;
  }

  /** Arena → regions. */
  deliver(): void {
    if (this.count === 0) return;
    this.refused += this.native.deliverCopies(this.count);
    this.carried = this.count;
    this.count = 0;
  }
}
