/**
 * Row "control": how long QEMU (and with it the whole VM: it waits with its big lock held) would wait for a reply while every port
 * floods. The probe sleeps while it waits, as QEMU does, and shares the generator's core, which never sleeps: as root it has real-time
 * priority there, or its waiting for the processor, milliseconds, would be all that is measured.
 *
 * The turn worker has its core for itself, the base's other threads are on the generator's. While the base is young they compile its code, which costs
 * both: its first replies have lines of their own, with the same limits.
 */
import { join } from 'node:path';
import { startBase } from '../lib/candidates.ts';
import { BASE_MAC, Generator, PORTS } from '../lib/generator.ts';
import { NoiseMeter } from '../lib/machine.ts';
import { DPDK, provide } from '../lib/needs.ts';
import { Probe } from '../lib/probe.ts';
import { type Cell, quantity } from '../lib/results.ts';
import { type Verdict, judgeNoise, summarise } from '../lib/statistics.ts';
import type { RowRunner } from './row.ts';

interface Times {
  count: number;
  p50: number;
  p99: number;
  worst: number;
}

interface Replies {
  /** The first ones of a base that has just started. */
  youngFeatures: Times;
  youngBase: Times;
  features: Times;
  base: Times;
}

const THIRD = { mac: '52:54:00:00:00:12', address: '10.77.0.12' };
/** Cycles of a young base; of those the first ten are left out. */
const YOUNG = 1000;
const LIMITS = { p99: 1, worst: 10 }; // milliseconds

export const controlRow: RowRunner = {
  name: 'control',
  title: 'Control: milliseconds to a reply while all ports flood',
  async run(lab, options) {
    const lacking = provide(DPDK, options.install);
    if (lacking !== null) throw new Error(lacking);
    const rounds: (Replies & { foreign: number; steal: number })[] = [];
    for (let round = 0; round < lab.timing.rounds; round++) {
      const base = await startBase(lab, {
        cores: [lab.cores.switch, lab.cores.generator],
        workerCores: [lab.cores.switch],
        moreVms: `  third:\n    socket: @/third.sock\n    addresses: [${THIRD.address}]\n    mac: ${THIRD.mac}\n`,
      });
      let generator: Generator | null = null;
      let probe: Probe | null = null;
      try {
        generator = await Generator.start(lab, { sockets: base.sockets });
        await generator.seed(64, 512);
        const wanted = {
          socket: join(base.folder, 'third.sock'),
          ...THIRD,
          destination: PORTS[0].address,
          baseMac: BASE_MAC,
          seconds: lab.timing.measure,
          first: lab.root,
          young: YOUNG,
        };
        probe = new Probe(lab, 'control', wanted, { nodeArgs: ['--single-threaded-gc'] });
        const noise = new NoiseMeter([process.pid, generator.pid, probe.child.pid, ...base.pids]);
        const rate = await generator.rate(lab.timing.measure);
        const times = await probe.result<Replies>(60 + lab.timing.measure);
        if (!(rate > 0)) throw new Error('nothing floods: no datagram came back to the generator');
        rounds.push({ ...times, ...noise.read() });
        lab.say(
          `round ${round + 1}/${lab.timing.rounds}: GET_FEATURES p99 ${times.features.p99.toFixed(3)} ms, worst ${times.features.worst.toFixed(2)}; ` +
            `GET_VRING_BASE p99 ${times.base.p99.toFixed(3)} ms, worst ${times.base.worst.toFixed(2)} ` +
            `(${times.base.count} of each) beside ${quantity(rate, '/s')} datagrams/s`,
        );
      } catch (error) {
        throw new Error(`${(error as Error).message}\n--- log\n${base.log()}`, { cause: error });
      } finally {
        await probe?.stop();
        await generator?.stop();
        await base.stop();
      }
    }
    const cells: Cell[] = [];
    for (const [label, key] of [
      ['GET_FEATURES', 'features'],
      ['GET_VRING_BASE', 'base'],
      [`GET_FEATURES, replies 10 to ${YOUNG},`, 'youngFeatures'],
      [`GET_VRING_BASE, replies 10 to ${YOUNG},`, 'youngBase'],
    ] as const) {
      for (const which of ['p50', 'p99', 'worst'] as const) {
        const summary = summarise(rounds.map((times) => times[key][which]));
        const limit = which === 'p50' || lab.timing.quick ? null : LIMITS[which];
        const verdict: Verdict =
          limit === null ? 'shown' : summary.median < limit ? 'reached' : 'missed';
        cells.push({
          name: `${label} ${which}`,
          unit: 'ms',
          less: true,
          candidates: { basewire: summary },
          comparisons: [],
          noise: judgeNoise(rounds, []),
          notes: limit === null ? [] : [`must stay below ${limit} ms: ${verdict}`],
          ...(limit === null ? {} : { limit: { below: limit, verdict } }),
        });
      }
    }
    return cells;
  },
};
