/**
 * Row "scale": the same traffic with a longer address list, and with more ports connected that are quiet. Against itself at the small
 * end; and what an address and a port cost in memory.
 *
 * With many addresses the traffic runs between one address and 256 others that lie scattered over the list.
 */
import { join } from 'node:path';
import { type BaseOptions, startBase } from '../lib/candidates.ts';
import { CoreDistance, type Placed, pairs } from '../lib/core-distance.ts';
import { Generator } from '../lib/generator.ts';
import type { Lab } from '../lib/lab.ts';
import { NoiseMeter, processMemory } from '../lib/machine.ts';
import { DPDK, provide } from '../lib/needs.ts';
import { sleep } from '../lib/process.ts';
import { type Cell, quantity } from '../lib/results.ts';
import { compare, judgeNoise, summarise } from '../lib/statistics.ts';
import type { Testpmd } from '../lib/testpmd.ts';
import { connectQuietly } from './idle.ts';
import type { RowRunner } from './row.ts';

const ADDRESSES = [2, 1000, 10_000, 100_000];
const CONNECTED = [2, 16, 64];
const MOST_SLOWER = 0.9;
/** Measurements of one start: how far the cores are apart changes from one second to the next, and only what was measured alike is compared. */
const LOOKS = 4;
/** Rounds are added until there are as many such pairs as rounds were asked for, but no more than so many. */
const MORE_ROUNDS = 2;

interface Reading extends Placed {
  rate: number;
  memoryKiB: number;
  foreign: number;
  steal: number;
}

/** Addresses of 10.0.0.0/8 besides the two ports' own, spread by a step that meets each once. */
function spread(count: number): string[] {
  const list: string[] = [];
  for (let index = 0; list.length < count; index++) {
    const number = (index * 160_003 + 77) % 0xfe0000; // 10.1.0.0 and up; the ports live in 10.77.0.0/16
    const address = `10.${1 + (number >>> 16)}.${(number >>> 8) & 255}.${number & 255}`;
    if (!address.startsWith('10.77.')) list.push(address);
  }
  return list;
}

/** The sources that testpmd's --txonly-multi-flow makes of the destination 10.77.0.11, on its second lcore. */
function flows(): string[] {
  return Array.from({ length: 256 }, (_, index) => `10.77.${index}.12`);
}

async function measure(
  lab: Lab,
  cores: CoreDistance,
  options: BaseOptions,
  quiet: string[],
  multiFlow: boolean,
): Promise<Reading[]> {
  const base = await startBase(lab, options);
  let generator: Generator | null = null;
  let others: Testpmd | null = null;
  try {
    if (quiet.length > 0) {
      const sockets = quiet.map((name) => join(base.folder, `${name}.sock`));
      others = await connectQuietly(lab, sockets, (index) => quietMac(index));
    }
    generator = await Generator.start(lab, { sockets: base.sockets, multiFlow });
    await generator.seed(64, 512);
    await sleep(lab.timing.warmup * 1000);
    const pids = [process.pid, generator.pid, ...(others ? [others.pid] : []), ...base.pids];
    const looks: Omit<Reading, 'memoryKiB'>[] = [];
    for (let look = 0; look < LOOKS; look++) {
      looks.push(
        await cores.around(async () => {
          const noise = new NoiseMeter(pids);
          const rate = await generator!.rate(lab.timing.measure / LOOKS);
          return { rate, ...noise.read() };
        }),
      );
    }
    const memoryKiB = processMemory(base.child.pid).anonymousKiB;
    return looks.map((look) => ({ ...look, memoryKiB }));
  } catch (error) {
    throw new Error(`${(error as Error).message}\n--- log\n${base.log()}`, { cause: error });
  } finally {
    await generator?.stop();
    await others?.quit();
    await base.stop();
  }
}

const quietMac = (index: number) => `52:54:00:00:01:${index.toString(16).padStart(2, '0')}`;

function addressOptions(count: number): BaseOptions {
  if (count === 2) return { subnet: '10.0.0.0/8' };
  const more = spread(Math.max(0, count - 2 - 256));
  const half = more.length >> 1;
  return {
    subnet: '10.0.0.0/8',
    moreAddresses: [[...flows(), ...more.slice(0, half)], more.slice(half)],
  };
}

function portOptions(count: number): { options: BaseOptions; quiet: string[] } {
  const quiet = Array.from({ length: count - 2 }, (_, index) => `quiet${index}`);
  const moreVms = quiet
    .map(
      (name, index) =>
        `  ${name}:\n    socket: @/${name}.sock\n    addresses: [10.77.0.${20 + index}]\n    mac: ${quietMac(index)}\n`,
    )
    .join('');
  return { options: { moreVms }, quiet };
}

export const scaleRow: RowRunner = {
  name: 'scale',
  title: 'Scale: datagrams per second (64 B) with more addresses, and with more ports connected',
  async run(lab, options) {
    const lacking = provide(DPDK, options.install);
    if (lacking !== null) throw new Error(lacking);
    const addresses = lab.timing.quick ? [2, 1000] : ADDRESSES;
    const ports = lab.timing.quick ? [2, 8] : CONNECTED;
    const readings = new Map<string, Reading[]>();
    const note = (key: string, looks: Reading[], round: number) => {
      readings.set(key, [...(readings.get(key) ?? []), ...looks]);
      const rates = looks.map(({ rate, distance }) => `${quantity(rate, '/s')} (${distance})`);
      lab.say(
        `round ${round + 1}/${lab.timing.rounds} ${key}: ${rates.join(', ')}; ${(looks[0]!.memoryKiB / 1024).toFixed(1)} MiB`,
      );
    };
    const { rounds } = lab.timing;
    const most = lab.timing.quick ? rounds : rounds + MORE_ROUNDS;
    const enough = (what: string, counts: number[]) =>
      alike(what, counts, readings).length >= rounds;
    const cores = new CoreDistance(lab);
    try {
      for (
        let round = 0;
        round < rounds ||
        (round < most && !(enough('addresses', addresses) && enough('ports', ports)));
        round++
      ) {
        for (const count of addresses) {
          const looks = await measure(lab, cores, addressOptions(count), [], count > 2);
          note(`${count} addresses`, looks, round);
        }
        for (const count of ports) {
          const { options: base, quiet } = portOptions(count);
          note(`${count} ports`, await measure(lab, cores, base, quiet, false), round);
        }
      }
    } finally {
      await cores.stop();
    }
    return [toCell('addresses', addresses, readings, lab), toCell('ports', ports, readings, lab)];
  },
};

/** Of the largest and the smallest count. */
function alike(what: string, counts: number[], readings: Map<string, Reading[]>) {
  const of = (count?: number) => readings.get(`${count} ${what}`) ?? [];
  return pairs(of(counts.at(-1)), of(counts[0]));
}

function toCell(what: string, counts: number[], readings: Map<string, Reading[]>, lab: Lab): Cell {
  const of = (count: number) => readings.get(`${count} ${what}`) ?? [];
  const candidates = Object.fromEntries(
    counts.map((count) => [`${count} ${what}`, summarise(of(count).map((r) => r.rate))]),
  );
  const noise = judgeNoise(
    counts.flatMap(of),
    Object.values(candidates).map((summary) => summary.spread),
  );
  const [least, most] = [counts[0]!, counts[counts.length - 1]!];
  const memory = (count: number) => summarise(of(count).map((r) => r.memoryKiB)).median;
  const compared = alike(what, counts, readings);
  const each = ((memory(most) - memory(least)) * 1024) / (most - least);
  return {
    name: what,
    unit: 'datagrams/s',
    less: false,
    candidates,
    comparisons: [
      compare(
        `${least} ${what}`,
        compared.map(([one]) => one.rate),
        compared.map(([, other]) => other.rate),
        lab.timing.quick ? null : MOST_SLOWER,
        noise.quiet,
      ),
    ],
    noise,
    notes: [
      `the ratio is ${most} ${what} against ${least}, of ${compared.length} pairs of measurements with the cores placed alike`,
      `private memory ${(memory(least) / 1024).toFixed(1)} MiB with ${least}, ${(memory(most) / 1024).toFixed(1)} MiB with ${most}: ` +
        `${each.toFixed(0)} bytes for each of the ${what}`,
    ],
  };
}
