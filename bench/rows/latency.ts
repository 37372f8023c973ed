/**
 * Row "latency": one datagram in flight between two VMs, there and back. Back to back the switch has no time to fall asleep; with a
 * pause between round trips an adaptive one has, and must be woken by a kick.
 */
import { type Candidate, basewire, dpdkIo, ovsDpdk } from '../lib/candidates.ts';
import { CoreDistance, type Placed, pairs } from '../lib/core-distance.ts';
import { BASE_MAC, PORTS } from '../lib/generator.ts';
import type { Lab } from '../lib/lab.ts';
import { NoiseMeter } from '../lib/machine.ts';
import { provide } from '../lib/needs.ts';
import { Probe } from '../lib/probe.ts';
import type { Cell } from '../lib/results.ts';
import { compare, judgeNoise, summarise } from '../lib/statistics.ts';
import type { RowRunner } from './row.ts';

interface Reading {
  p50: number;
  p99: number;
  worst: number;
  lost: number;
  kicks: number;
  foreign: number;
  steal: number;
}

type Placing = Reading & Placed;

/** Name of the pattern, and microseconds between round trips. */
const PATTERNS: [string, number][] = [
  ['back to back', 0],
  ['1 ms apart', 1000],
];

async function measure(lab: Lab, candidate: Candidate, gap: number): Promise<Reading> {
  const running = await candidate.start(lab);
  const seconds = lab.timing.measure;
  const probe = new Probe(lab, 'latency', {
    sockets: running.sockets,
    ports: PORTS,
    baseMac: BASE_MAC,
    bytes: 64,
    warmup: lab.timing.quick ? 2000 : 20_000,
    trips: gap === 0 ? Math.round(30_000 * seconds) : Math.round((seconds * 1e6) / (gap + 100)),
    gap,
  });
  const noise = new NoiseMeter([process.pid, probe.child.pid, ...running.pids]);
  try {
    return {
      ...(await probe.result<Omit<Reading, 'foreign' | 'steal'>>(60 + seconds * 5)),
      ...noise.read(),
    };
  } catch (error) {
    throw new Error(
      `${candidate.name}: ${(error as Error).message}\n--- its log\n${running.log()}`,
      { cause: error },
    );
  } finally {
    await probe.stop();
    await running.stop();
  }
}

export const latencyRow: RowRunner = {
  name: 'latency',
  title: 'Latency: round trip of one 64 B datagram between two VMs',
  async run(lab, options) {
    const notes: string[] = [];
    const candidates: Candidate[] = [
      basewire({ name: 'basewire busy', poll: 'busy' }),
      basewire({ name: 'basewire adaptive', poll: 'adaptive' }),
    ];
    for (const peer of [dpdkIo(), ovsDpdk()]) {
      const lacking = provide(peer.needs, options.install);
      if (lacking === null) candidates.push(peer);
      else notes.push(`without ${peer.name}: ${lacking}`);
    }
    const chosen = candidates.filter(
      ({ name }) => options.only?.some((part) => name.startsWith(part)) ?? true,
    );
    const readings = new Map<string, Placing[]>();
    const cores = new CoreDistance(lab);
    for (let round = 0; round < lab.timing.rounds; round++) {
      for (const candidate of chosen) {
        for (const [pattern, gap] of PATTERNS) {
          const reading = await cores.around(() => measure(lab, candidate, gap));
          const key = `${pattern}/${candidate.name}`;
          readings.set(key, [...(readings.get(key) ?? []), reading]);
          lab.say(
            `round ${round + 1}/${lab.timing.rounds} ${candidate.name}, ${pattern}: ` +
              `p50 ${reading.p50.toFixed(1)} µs, p99 ${reading.p99.toFixed(1)} µs, ${reading.kicks.toFixed(2)} kicks a trip, cores ${reading.distance}`,
          );
        }
      }
    }
    await cores.stop();
    const cells = PATTERNS.flatMap(([pattern]) =>
      (['p50', 'p99'] as const).map((which) => toCell(lab, pattern, which, chosen, readings)),
    );
    cells[0]?.notes.push(...notes);
    return cells;
  },
};

function toCell(
  lab: Lab,
  pattern: string,
  which: 'p50' | 'p99',
  chosen: Candidate[],
  readings: Map<string, Placing[]>,
): Cell {
  const of = (name: string) => readings.get(`${pattern}/${name}`) ?? [];
  const summaries = Object.fromEntries(
    chosen.map(({ name }) => [name, summarise(of(name).map((r) => r[which]))]),
  );
  const noise = judgeNoise(
    chosen.flatMap(({ name }) => of(name)),
    Object.values(summaries).map((s) => s.spread),
  );
  const busy = summaries['basewire busy'];
  const required = lab.timing.quick || which !== 'p50' || pattern !== 'back to back' ? null : 1;
  const peers = chosen.filter(({ name }) => !name.startsWith('basewire'));
  const lost = chosen.filter(({ name }) => of(name).some((reading) => reading.lost > 0));
  return {
    name: `${which}, ${pattern}`,
    unit: 'µs',
    less: true,
    candidates: summaries,
    comparisons: busy
      ? peers.map(({ name }) => {
          const alike = pairs(of('basewire busy'), of(name));
          return compare(
            name,
            alike.map(([ours]) => ours[which]),
            alike.map(([, theirs]) => theirs[which]),
            name === 'dpdk io' ? required : null,
            noise.quiet,
            true,
          );
        })
      : [],
    noise,
    notes: [
      ...(busy && peers.length > 0 ? ['the ratios are those of busy polling'] : []),
      ...lost.map(({ name }) => `${name} lost datagrams`),
    ],
  };
}
