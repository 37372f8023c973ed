/**
 * Row "switch": datagrams per second between two VMs, all candidates with the same generator on the same two cores.
 */
import { type Candidate, type Running, basewire, dpdkIo, ovsDpdk } from '../lib/candidates.ts';
import { CoreDistance, type Placed, pairs } from '../lib/core-distance.ts';
import { Generator, type GeneratorOptions, type Measurement } from '../lib/generator.ts';
import type { Lab } from '../lib/lab.ts';
import { NoiseMeter } from '../lib/machine.ts';
import { DPDK, provide } from '../lib/needs.ts';
import { sleep } from '../lib/process.ts';
import { type Cell, quantity } from '../lib/results.ts';
import { compare, judgeNoise, median, summarise } from '../lib/statistics.ts';
import type { RowRunner, Variant } from './row.ts';

const IN_FLIGHT = 512;
/** Rounds are added until there are as many pairs as were asked for with the cores placed alike, but no more than so many. */
const MORE_ROUNDS = 2;

type Placing = Measurement & Placed;

/** What must be reached, by frame size: [against OVS-DPDK, against DPDK io]. */
const REQUIRED: Record<number, [number | null, number | null]> = {
  64: [1.5, 1.2],
  512: [null, null],
  1500: [1.0, 1.0],
};

interface Rings {
  kind: Variant;
  name: string;
  ours: Candidate;
  generator: Pick<GeneratorOptions, 'inOrder' | 'packed'>;
}

/** One candidate, once: every size after the other with the same two processes. */
async function measureSizes(
  lab: Lab,
  candidate: Candidate,
  variant: Rings,
  sizes: number[],
  cores: CoreDistance,
): Promise<Map<number, Placing>> {
  const result = new Map<number, Placing>();
  const running = await candidate.start(lab);
  let generator: Generator | null = null;
  try {
    generator = await Generator.start(lab, { sockets: running.sockets, ...variant.generator });
    for (const bytes of sizes) {
      await generator.seed(bytes, IN_FLIGHT);
      await sleep(lab.timing.warmup * 1000);
      const placed = await cores.around(() => measureRate(lab, generator!, running));
      const { remaining, ceiling } = await generator.drain(IN_FLIGHT);
      // It ended or stands still, and the rate is that of a part of the time.
      if (remaining === 0) throw new Error(`${bytes} B: nothing came back at the end`);
      result.set(bytes, { ...placed, lost: IN_FLIGHT - remaining, ceiling });
    }
  } catch (error) {
    throw new Error(
      `${candidate.name}: ${(error as Error).message}\n--- its log\n${running.log()}`,
      { cause: error },
    );
  } finally {
    await generator?.stop();
    await running.stop();
  }
  return result;
}

async function measureRate(
  lab: Lab,
  generator: Generator,
  { pids }: Running,
): Promise<Pick<Measurement, 'rate' | 'foreign' | 'steal'>> {
  const noise = new NoiseMeter([process.pid, generator.pid, ...pids]);
  const rate = await generator.rate(lab.timing.measure);
  return { rate, ...noise.read() };
}

async function measureVariant(
  lab: Lab,
  variant: Rings,
  peers: Candidate[],
  sizes: number[],
  cores: CoreDistance,
): Promise<Cell[]> {
  const candidates = [variant.ours, ...peers];
  const measured = new Map(
    candidates.map((candidate) => [candidate.name, [] as Map<number, Placing>[]]),
  );
  const { rounds } = lab.timing;
  const enough = () =>
    sizes.every((bytes) =>
      peers.every(({ name }) => {
        const of = (candidate: string) => measured.get(candidate)!.map((all) => all.get(bytes)!);
        return pairs(of(variant.ours.name), of(name)).length >= rounds;
      }),
    );
  const most = lab.timing.quick ? rounds : rounds + MORE_ROUNDS;
  for (let round = 0; round < rounds || (round < most && !enough()); round++) {
    for (const candidate of candidates) {
      const sizesMeasured = await measureSizes(lab, candidate, variant, sizes, cores);
      measured.get(candidate.name)!.push(sizesMeasured);
      const rates = [...sizesMeasured].map(([bytes, m]) => {
        const lost = m.lost === 0 ? '' : ` (${m.lost} lost)`;
        return `${bytes} B ${quantity(m.rate, '/s')}${lost} (cores ${m.distance}, generator ${quantity(m.ceiling, '/s')})`;
      });
      lab.say(`round ${round + 1}/${rounds}${variant.name} ${candidate.name}: ${rates.join(', ')}`);
    }
  }
  return sizes.map((bytes) => toCell(lab, variant, bytes, candidates, measured));
}

function toCell(
  lab: Lab,
  variant: Rings,
  bytes: number,
  candidates: Candidate[],
  measured: Map<string, Map<number, Placing>[]>,
): Cell {
  const of = (name: string) => measured.get(name)!.map((round) => round.get(bytes)!);
  const summaries = Object.fromEntries(
    candidates.map(({ name }) => [name, summarise(of(name).map((m) => m.rate))]),
  );
  const noise = judgeNoise(
    candidates.flatMap(({ name }) => of(name)),
    Object.values(summaries).map((summary) => summary.spread),
  );
  const required = lab.timing.quick ? [null, null] : (REQUIRED[bytes] ?? [null, null]);
  const notes: string[] = [];
  for (const { name } of candidates) {
    const lost = of(name).reduce((sum, m) => sum + m.lost, 0);
    if (lost !== 0) notes.push(`${name} lost ${lost} of ${IN_FLIGHT * of(name).length} datagrams`);
  }
  for (const distance of ['near', 'far'] as const) {
    const medians = candidates.flatMap(({ name }) => {
      const alike = of(name).filter((m) => m.distance === distance);
      if (alike.length === 0) return [];
      const rate = quantity(median(alike.map((m) => m.rate)), '/s');
      const ceiling = quantity(median(alike.map((m) => m.ceiling)), '/s');
      return `${name} ${rate} of ${ceiling} (${alike.length})`;
    });
    if (medians.length > 0)
      notes.push(
        `cores ${distance}, of what the generator's own work allows: ${medians.join(', ')}`,
      );
  }
  const peers = candidates.slice(1);
  return {
    name: `${bytes} B${variant.name}`,
    unit: 'datagrams/s',
    less: false,
    candidates: summaries,
    comparisons: peers.map(({ name }) => {
      const alike = pairs(of(variant.ours.name), of(name));
      return compare(
        name,
        alike.map(([one]) => one.rate),
        alike.map(([, other]) => other.rate),
        required[name === 'ovs-dpdk' ? 0 : 1]!,
        noise.quiet,
      );
    }),
    noise,
    notes,
  };
}

export const switchRow: RowRunner = {
  name: 'switch',
  title: 'Switch: datagrams per second from VM to VM, 512 in flight',
  async run(lab, options) {
    const sizes = options.sizes ?? (lab.timing.quick ? [64, 1500] : [64, 512, 1500]);
    const missing = provide(DPDK, options.install);
    if (missing !== null) throw new Error(missing);
    const peers: Candidate[] = [];
    const cells: Cell[] = [];
    const notes: string[] = [];
    for (const peer of [ovsDpdk(), dpdkIo()]) {
      if (options.only && !options.only.includes(peer.name)) continue;
      const lacking = provide(peer.needs, options.install);
      if (lacking === null) peers.push(peer);
      else notes.push(`without ${peer.name}: ${lacking}`);
    }
    const cores = new CoreDistance(lab);
    const variants = (
      [
        { kind: 'split', name: '', ours: basewire(), generator: {} },
        { kind: 'in-order', name: ', in order', ours: basewire(), generator: { inOrder: true } },
        {
          kind: 'packed',
          name: ', packed',
          ours: basewire({ packed: true }),
          generator: { packed: true },
        },
      ] satisfies Rings[]
    ).filter(({ kind }) => options.variants.includes(kind));
    for (const variant of variants) {
      if (options.only && !options.only.includes('basewire')) {
        // Peers alone: the first of them stands where basewire would.
        cells.push(
          ...(await measureVariant(
            lab,
            { ...variant, ours: peers[0]! },
            peers.slice(1),
            sizes,
            cores,
          )),
        );
      } else {
        cells.push(...(await measureVariant(lab, variant, peers, sizes, cores)));
      }
    }
    await cores.stop();
    cells[0]?.notes.push(...notes);
    return cells;
  },
};
