/** What a row of the benchmark is to `bench/main.ts`. */
import type { Lab, Timing } from '../lib/lab.ts';
import type { Cell } from '../lib/results.ts';

/** Split rings, split rings used in order, packed rings. */
export const VARIANTS = ['split', 'in-order', 'packed'] as const;
export type Variant = (typeof VARIANTS)[number];

export interface RowOptions {
  /** May missing Debian packages be installed? */
  install: boolean;
  /** Only these candidates, by name. */
  only: string[] | null;
  /** Only these frame sizes. */
  sizes: number[] | null;
  /** Rings of the switch row. */
  variants: Variant[];
}

export interface RowRunner {
  name: string;
  title: string;
  /** What it makes of the command line's rounds and seconds; left out where it takes them. */
  timing?(timing: Timing): Pick<Timing, 'rounds' | 'measure'>;
  run(lab: Lab, options: RowOptions): Promise<Cell[]>;
}
