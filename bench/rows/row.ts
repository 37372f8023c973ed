/** What a row of the benchmark is to `bench/main.ts`. */
import type { Lab } from '../lib/lab.ts';
import type { Cell } from '../lib/results.ts';

export interface RowOptions {
  /** May missing Debian packages be installed? */
  install: boolean;
  /** Only these candidates, by name. */
  only: string[] | null;
  /** Only these frame sizes. */
  sizes: number[] | null;
  /** Ring variants of the switch row: 0 split, 1 split with in_order, 2 packed. */
  variants: number[];
}

export interface RowRunner {
  name: string;
  title: string;
  run(lab: Lab, options: RowOptions): Promise<Cell[]>;
}
