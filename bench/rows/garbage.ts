/**
 * Row "garbage": does the turn worker allocate? V8 says so itself (--trace-gc prints a line per collection and isolate): a steady load
 * must bring none in the worker. Its young generation is large here, lest what the start left be collected in the middle of the measurement; an object for
 * each turn, a few bytes of some 60,000 a second, still fills it in time.
 */
import { startBase } from '../lib/candidates.ts';
import { Generator } from '../lib/generator.ts';
import { NoiseMeter } from '../lib/machine.ts';
import { DPDK, provide } from '../lib/needs.ts';
import { sleep } from '../lib/process.ts';
import { quantity } from '../lib/results.ts';
import { judgeNoise, summarise, type Verdict } from '../lib/statistics.ts';
import type { RowRunner } from './row.ts';

const YOUNG_MB = 16;
/** One line of --trace-gc: "[4711:0x5581d2c0] 123 ms: Scavenge 4.1 (5.0) -> ...". */
const COLLECTION = /^\[\d+:(0x[0-9a-f]+)(?::\d+)?\]\s+\d+ ms: (\S+)/gm;

/** Number of collections per isolate. */
export function countCollections(output: string): Map<string, number> {
  const counts = new Map<string, number>();
  for (const [, isolate] of output.matchAll(COLLECTION))
    counts.set(isolate!, (counts.get(isolate!) ?? 0) + 1);
  return counts;
}

const timing = ({ quick }: { quick: boolean }) => ({ rounds: 1, measure: quick ? 3 : 30 });

export const garbageRow: RowRunner = {
  name: 'garbage',
  title: 'Garbage: collections in the turn worker under steady load',
  timing,
  async run(lab, options) {
    const lacking = provide(DPDK, options.install);
    if (lacking !== null) throw new Error(lacking);
    const { measure: seconds } = timing(lab.timing);
    const base = await startBase(lab, {
      nodeArgs: ['--trace-gc', `--min-semi-space-size=${YOUNG_MB}`],
    });
    let generator: Generator | null = null;
    try {
      generator = await Generator.start(lab, { sockets: base.sockets });
      await generator.seed(64, 512);
      await sleep(lab.timing.quick ? 1000 : 5000);
      // The main thread compiles and loads everything before it starts the worker: the isolate that collects first is its.
      const main = COLLECTION.exec(base.child.output)?.[1] ?? '';
      COLLECTION.lastIndex = 0;
      const noise = new NoiseMeter([process.pid, generator.pid, ...base.pids]);
      const mark = base.child.output.length;
      const rate = await generator.rate(seconds);
      base.child.mustRun();
      // Who carries nothing makes no garbage.
      if (!(rate > 0)) throw new Error(`no datagram came back\n--- log\n${base.log()}`);
      const counts = countCollections(base.child.output.slice(mark));
      let worker = 0;
      for (const [isolate, count] of counts) if (isolate !== main) worker += count;
      const verdict: Verdict = worker === 0 ? 'reached' : 'missed';
      lab.say(
        `${worker} collections in the worker, ${counts.get(main) ?? 0} in the main thread, ${quantity(rate, '/s')} datagrams/s`,
      );
      return [
        {
          name: 'turn worker',
          unit: `collections in ${seconds} s`,
          less: true,
          candidates: {
            basewire: summarise([worker]),
            'its main thread': summarise([counts.get(main) ?? 0]),
          },
          comparisons: [],
          noise: judgeNoise([noise.read()], []),
          notes: [
            `at ${quantity(rate, '/s')} datagrams/s, young generation ${YOUNG_MB} MB; must be none in the worker: ${verdict}`,
          ],
          ...(lab.timing.quick ? {} : { limit: { below: 1, verdict } }),
        },
      ];
    } finally {
      await generator?.stop();
      await base.stop();
    }
  },
};
