/**
 * Row "workers": four VMs, each with 512 datagrams under way to another, on one turn worker and on two. What one worker can do against others is
 * the switch row's matter; here is looked at what a second one costs and what crossing costs, per second of the workers' processor
 * time. Where there are cores for both workers beside the generator's, the rates show what two do; with two cores in all both share one, and
 * only the arithmetic is left: two workers with a core each do twice what is shown for one second of processor time.
 *
 * A worker that finds nothing leaves the core at once here (spin 0), so that the other one has it. Every sender sends the same bytes again and
 * again, which are in a cache: the rates say nothing about real memory.
 */
import { join } from 'node:path';
import { startBase } from '../lib/candidates.ts';
import { BASE_MAC, PORTS } from '../lib/generator.ts';
import type { Lab } from '../lib/lab.ts';
import { allowedCores } from '../../src/supervision/idle-cores.ts';
import { busiestThreads, NoiseMeter } from '../lib/machine.ts';
import { Probe } from '../lib/probe.ts';
import { type Cell, quantity } from '../lib/results.ts';
import { compare, judgeNoise, summarise } from '../lib/statistics.ts';
import type { Argument, Reading } from '../probes/workers.ts';
import type { RowRunner } from './row.ts';

const MORE = [
  { name: 'c', mac: '52:54:00:00:00:12', address: '10.77.0.12' },
  { name: 'd', mac: '52:54:00:00:00:13', address: '10.77.0.13' },
];
/** a and b talk with each other, and so do c and d. */
const PARTNERS = [1, 0, 3, 2];
const WINDOW = 512;

interface Arrangement {
  name: string;
  workers: number;
  /** Of a, b, c and d. */
  placed: [number, number, number, number];
}

const ARRANGEMENTS: Arrangement[] = [
  { name: 'one worker', workers: 1, placed: [0, 0, 0, 0] },
  { name: 'two, each pair on one', workers: 2, placed: [0, 0, 1, 1] },
  { name: 'two, all datagrams cross', workers: 2, placed: [0, 1, 0, 1] },
];

interface Measured {
  /** Datagrams per second. */
  rate: number;
  /** Datagrams per second of the workers' processor time. */
  perSecond: number;
  lost: number;
  foreign: number;
  steal: number;
}

async function measure(lab: Lab, { name, workers, placed }: Arrangement, bytes: number) {
  const base = await startBase(lab, {
    name: `basewire ${workers}`,
    cores: [...allowedCores()].filter((core) => core !== lab.cores.generator),
    workers,
    placed,
    spin: 0,
    moreVms: MORE.map(
      ({ name, mac, address }, index) =>
        `  ${name}:\n    socket: @/${name}.sock\n    addresses: [${address}]\n    mac: ${mac}\n    worker: ${placed[index + 2]}\n`,
    ).join(''),
  });
  const { warmup, measure: seconds } = lab.timing;
  const probe = new Probe(lab, 'workers', {
    sockets: [...base.sockets, ...MORE.map(({ name }) => join(base.folder, `${name}.sock`))],
    ports: [...PORTS, ...MORE],
    baseMac: BASE_MAC,
    bytes,
    to: PARTNERS,
    window: WINDOW,
    warmup,
    seconds,
  } satisfies Argument);
  try {
    await probe.result<Reading>(60 + warmup);
    const noise = new NoiseMeter([process.pid, probe.child.pid, ...base.pids]);
    const used = busiestThreads(base.child.pid);
    const { arrived, lost, seconds: passed } = await probe.result<Reading>(60 + seconds);
    const processor = used(workers);
    const measured: Measured = {
      rate: arrived / passed,
      perSecond: arrived / processor,
      lost,
      ...noise.read(),
    };
    lab.say(
      `${bytes} B, ${name}: ${quantity(measured.rate, '/s')} datagrams/s, ${quantity(measured.perSecond, '/s')} per second of processor time ` +
        `(${processor.toFixed(2)} s in ${passed.toFixed(2)} s)${lost === 0 ? '' : `, ${lost} lost`}`,
    );
    return measured;
  } catch (error) {
    throw new Error(`${(error as Error).message}\n--- log\n${base.log()}`, { cause: error });
  } finally {
    await probe.stop();
    await base.stop();
  }
}

function toCell(
  bytes: number,
  which: 'rate' | 'perSecond',
  measured: Map<string, Measured[]>,
): Cell {
  const [one] = ARRANGEMENTS;
  const of = (name: string) => measured.get(name)!.map((reading) => reading[which]);
  const summaries = Object.fromEntries(
    ARRANGEMENTS.map(({ name }) => [name, summarise(of(name))] as const),
  );
  const noise = judgeNoise(
    [...measured.values()].flat(),
    Object.values(summaries).map(({ spread }) => spread),
  );
  const cores = allowedCores().size - 1;
  const lost = [...measured.values()].flat().reduce((sum, reading) => sum + reading.lost, 0);
  return {
    name: `${bytes} B, ${which === 'rate' ? 'all together' : 'of processor time'}`,
    unit: 'datagrams/s',
    less: false,
    candidates: summaries,
    comparisons: ARRANGEMENTS.slice(1).map(({ name }) =>
      compare(name, of(one!.name), of(name), null, noise.quiet),
    ),
    noise,
    notes:
      which === 'rate'
        ? [
            cores < 2
              ? 'both workers share one core with each other: more workers can bring nothing here'
              : `the workers have ${cores} cores`,
          ]
        : lost === 0
          ? []
          : [`${lost} datagrams were lost`],
  };
}

export const workersRow: RowRunner = {
  name: 'workers',
  title: 'Workers: four VMs in two pairs on one turn worker and on two',
  async run(lab, options) {
    const cells: Cell[] = [];
    for (const bytes of options.sizes ?? [64, 1500]) {
      const measured = new Map(ARRANGEMENTS.map(({ name }) => [name, [] as Measured[]]));
      for (let round = 0; round < lab.timing.rounds; round++) {
        for (const arrangement of ARRANGEMENTS)
          measured.get(arrangement.name)!.push(await measure(lab, arrangement, bytes));
      }
      cells.push(toCell(bytes, 'perSecond', measured));
      cells.push(toCell(bytes, 'rate', measured));
    }
    return cells;
  },
};
