/**
 * Ranked case 15 at length: sequences of every request and of what a driver does, right and wrong ones, in any order, against a model of
 * the specification's ring states. In process and in step, so that many are done: 300 for each kind of rings, 50,000 with BASEWIRE_LONG=1.
 *
 * BASEWIRE_SEED repeats a run, BASEWIRE_RUNS says how long it is. A sequence that fails is made as short as can be and kept in test/corpus/order/, and what lies
 * there is done again in every run.
 */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { LONG } from '../support/random.ts';
import { OrderBench } from './order/bench.ts';
import { Model } from './order/model.ts';
import { connect, type Real } from './order/ring-steps.ts';
import { DRAWN, Step } from './order/steps.ts';
import { until } from '../support/until.ts';

const CORPUS = fileURLToPath(new URL('../corpus/order', import.meta.url));
const RUNS = Number(process.env.BASEWIRE_RUNS ?? (LONG ? 50_000 : 300));
const FORMATS = ['split', 'packed'] as const;

interface Kept {
  format: (typeof FORMATS)[number];
  what: string;
  steps: string[];
}

describe('any order of requests', () => {
  let bench: OrderBench;
  beforeAll(() => {
    bench = new OrderBench();
  });
  afterAll(() => bench.close());

  function begin(format: Kept['format']): { model: Model; real: Real } {
    const a = bench[format];
    const shadows = a.memory.regions.map(({ bytes }) => Buffer.alloc(bytes.length));
    return { model: new Model(), real: { bench, a, shadows } };
  }

  /** Plays one sequence on a new connection; the books balance and nothing is left open in the end. */
  function play(format: Kept['format'], steps: Iterable<Step>): void {
    const { model, real } = begin(format);
    try {
      connect(model, real);
      for (const step of steps) step.run(model, real);
    } finally {
      real.a.disconnect();
      bench.settle();
    }
    const received = bench.count('receivedDatagrams');
    expect(bench.count('delivered') + bench.count('waiting') + bench.drops()).toBe(received);
  }

  const kept = readdirSync(CORPUS).filter((name) => name.endsWith('.json'));
  test.each(kept)('once failed: %s', (name) => {
    const { format, steps } = JSON.parse(readFileSync(join(CORPUS, name), 'utf8')) as Kept;
    play(
      format,
      steps.map((step) => new Step(step)),
    );
  });

  const commands = fc.commands(
    DRAWN.map((name) => fc.constant(new Step(name))),
    { maxCommands: 60, size: '+1' },
  );
  const given = process.env.BASEWIRE_SEED;

  for (const format of FORMATS) {
    test(`${RUNS} sequences, ${format} rings`, { timeout: 60_000 + 24 * RUNS }, async () => {
      const descriptors = readdirSync('/proc/self/fd').length;
      const start = performance.now();
      let steps = 0;
      const details = fc.check(
        fc.property(commands, (sequence) => {
          const list = [...sequence] as Step[];
          steps += list.length;
          play(format, list);
        }),
        { numRuns: RUNS, ...(given === undefined ? {} : { seed: Number(given) | 0 }) },
      );
      const seconds = (performance.now() - start) / 1000;
      console.log(
        `${details.numRuns} sequences of ${steps} steps from seed ${details.seed}, ${Math.round(details.numRuns / seconds)} a second`,
      );
      if (details.failed) {
        const sequence = [...(details.counterexample![0] as Iterable<Step>)];
        const what = String((details.errorInstance as Error).message);
        mkdirSync(CORPUS, { recursive: true });
        const file = join(CORPUS, `seed-${details.seed >>> 0}.json`);
        const names = sequence.map(String);
        writeFileSync(file, `${JSON.stringify({ format, what, steps: names } satisfies Kept)}\n`);
        throw new Error(
          `BASEWIRE_SEED=${details.seed}: ${names.join('; ')}: ${what}; kept in ${file}`,
          { cause: details.errorInstance },
        );
      }
      // Another thread closes what front-ends passed.
      await until('no descriptor to be left', () => {
        return readdirSync('/proc/self/fd').length <= descriptors;
      });
    });
  }
});
