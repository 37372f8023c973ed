/**
 * The copies of one stage as rows of plain numbers, carried out by one native call. The addon checks every row again.
 */
import type { Native } from '../native.ts';

export class CopyList {
  readonly offsets: Float64Array;
  readonly cells: Int32Array;
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
    this.rows = Math.floor(rows.byteLength / 24);
  }

  /** Adds: `length` bytes between `offset` of a mapped region and `arena` of the arena. The caller keeps count < rows. */
  add(region: number, offset: number, arena: number, length: number): void {
    const row = this.count;
    this.offsets[row * 3] = offset;
    const cell = row * 6;
    this.cells[cell + 2] = region;
    this.cells[cell + 3] = arena;
    this.cells[cell + 4] = length;
    this.count = row + 1;
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
