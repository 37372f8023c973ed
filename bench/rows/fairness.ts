/**
 * Row "fairness": what a flooding VM costs a normal one. Rate at half load and round trip of a normal pair, without and with each flood in turns
 * within one run, so that only ratios are judged.
 */
import { join } from 'node:path';
import { startBase } from '../lib/candidates.ts';
import { BASE_MAC, PORTS } from '../lib/generator.ts';
import type { Lab } from '../lib/lab.ts';
import { NoiseMeter } from '../lib/machine.ts';
import { Probe } from '../lib/probe.ts';
import { type Cell, quantity } from '../lib/results.ts';
import { compare, judgeNoise, median, summarise } from '../lib/statistics.ts';
import type { Argument, Flood, Reading } from '../probes/fairness.ts';
import type { RowRunner } from './row.ts';

/** At least this share of the rate without the flood; less than this many times the round trip. */
const LIMITS = { rate: 0.9, p99: 5 };
/** Where the calls that the flood is made of are on both sides, only what the base adds is left. */
const LIMIT_OF_KICKS = 1.5;

const MORE = [
  { name: 'f', mac: '52:54:00:00:00:12', address: '10.77.0.12' },
  { name: 's', mac: '52:54:00:00:00:13', address: '10.77.0.13' },
];

const FLOODS = ['none', '64 B', '1 B descriptors', 'calls', 'kicks'] as const;

type Poll = 'busy' | 'adaptive';

interface Measured {
  readings: Reading[];
  foreign: number;
  steal: number;
}

async function measure(lab: Lab, poll: Poll): Promise<Measured> {
  const base = await startBase(lab, {
    name: `basewire ${poll}`,
    poll,
    moreVms: MORE.map(
      ({ name, mac, address }) =>
        `  ${name}:\n    socket: @/${name}.sock\n    addresses: [${address}]\n    mac: ${mac}\n`,
    ).join(''),
  });
  const { seconds, rounds } = { seconds: lab.timing.measure, rounds: lab.timing.rounds };
  const probe = new Probe(lab, 'fairness', {
    sockets: [...base.sockets, ...MORE.map(({ name }) => join(base.folder, `${name}.sock`))],
    ports: [...PORTS, ...MORE],
    baseMac: BASE_MAC,
    seconds,
    rounds,
    floods: FLOODS,
  } satisfies Argument);
  const noise = new NoiseMeter([process.pid, probe.child.pid, ...base.pids]);
  try {
    const readings: Reading[] = [];
    for (let count = 0; count < FLOODS.length * rounds; count++) {
      const reading = await probe.result<Reading>(60 + 5 * seconds);
      readings.push(reading);
      lab.say(
        `${poll}, ${reading.flood}: p50 ${reading.p50.toFixed(1)} µs, p99 ${reading.p99.toFixed(1)} µs; ` +
          `${quantity(reading.arrived, '/s')} of ${quantity(reading.capacity / 2, '/s')} datagrams/s beside ${quantity(reading.flooded, '/s')}`,
      );
    }
    return { readings, ...noise.read() };
  } catch (error) {
    throw new Error(`${(error as Error).message}\n--- log\n${base.log()}`, { cause: error });
  } finally {
    await probe.stop();
    await base.stop();
  }
}

export const fairnessRow: RowRunner = {
  name: 'fairness',
  title: 'Fairness: a normal pair of VMs beside one that floods',
  async run(lab) {
    const cells: Cell[] = [];
    for (const poll of ['busy', 'adaptive'] as const) {
      const measured = await measure(lab, poll);
      for (const flood of ['64 B', '1 B descriptors', 'kicks'] as const) {
        cells.push(toCell(lab, poll, measured, flood, 'arrived'));
        cells.push(toCell(lab, poll, measured, flood, 'p99'));
      }
    }
    return cells;
  },
};

function toCell(
  lab: Lab,
  poll: Poll,
  { readings, foreign, steal }: Measured,
  flood: Flood,
  which: 'arrived' | 'p99',
): Cell {
  const of = (name: Flood) =>
    readings.filter((reading) => reading.flood === name).map((reading) => reading[which]);
  const rate = which === 'arrived';
  const alone = summarise(of(flood === 'kicks' ? 'calls' : 'none'));
  const beside = summarise(of(flood));
  const noise = judgeNoise([{ foreign, steal }], [alone.spread, beside.spread]);
  const without = flood === 'kicks' ? 'as many calls that kick nobody' : 'alone';
  const required = lab.timing.quick
    ? null
    : rate
      ? LIMITS.rate
      : 1 / (flood === 'kicks' ? LIMIT_OF_KICKS : LIMITS.p99);
  return {
    name: `${rate ? 'rate' : 'p99'}, ${poll}, ${flood}`,
    unit: rate ? 'datagrams/s' : 'µs',
    less: !rate,
    candidates: { 'beside the flood': beside, [without]: alone },
    comparisons: [compare(without, beside.values, alone.values, required, noise.quiet, !rate)],
    noise,
    notes: rate
      ? [
          `offered: half of ${quantity(median(readings.map(({ capacity }) => capacity)), '/s')} (median)`,
        ]
      : [],
  };
}
