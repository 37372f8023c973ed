/**
 * `npm run bench [-- row ...] [options]`: measures, compares, prints a table, writes bench/results.json and the plot.
 * See docs/performance.md.
 */
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { PROJECT } from './lib/candidates.ts';
import { Lab, type Timing } from './lib/lab.ts';
import { describeMachine } from './lib/machine.ts';
import { writePlot } from './lib/plot.ts';
import { setNiceness } from './lib/process.ts';
import { type Cell, printRow, type Row, storeRow } from './lib/results.ts';
import { writeTables } from './lib/tables.ts';
import { type RowOptions, type RowRunner, VARIANTS } from './rows/row.ts';
import { adapterRow } from './rows/adapter.ts';
import { controlRow } from './rows/control.ts';
import { fairnessRow } from './rows/fairness.ts';
import { garbageRow } from './rows/garbage.ts';
import { guestsRow } from './rows/guests.ts';
import { idleRow } from './rows/idle.ts';
import { latencyRow } from './rows/latency.ts';
import { scaleRow } from './rows/scale.ts';
import { switchRow } from './rows/switch.ts';
import { workersRow } from './rows/workers.ts';

const ROWS: RowRunner[] = [
  switchRow,
  adapterRow,
  guestsRow,
  latencyRow,
  idleRow,
  controlRow,
  scaleRow,
  garbageRow,
  fairnessRow,
  workersRow,
];

const RESULTS = join(PROJECT, 'bench/results.json');
const PLOT = join(PROJECT, 'docs/performance.svg');
const PAGE = join(PROJECT, 'docs/performance.md');

const USAGE = `npm run bench -- [row ...] [options]

rows: ${ROWS.map((row) => row.name).join(', ')} (all when none is named)

  --quick             one short round, no limits, results not stored: does it run at all?
  --rounds N          interleaved rounds (5)
  --measure SECONDS   length of one measurement (3)
  --warmup SECONDS    traffic before it (1.5)
  --only NAMES        candidates, by commas: basewire, "ovs-dpdk", "dpdk io"
  --sizes BYTES       frame sizes of the switch row, by commas
  --variants LIST     rings of the switch row: split, in-order, packed (all)
  --out FILE          instead of bench/results.json
  --priority          all processes at nice -20 (root), for a machine that others use
  --no-install        never install missing Debian packages, only name them
`;

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      quick: { type: 'boolean', default: false },
      rounds: { type: 'string' },
      measure: { type: 'string' },
      warmup: { type: 'string' },
      only: { type: 'string' },
      sizes: { type: 'string' },
      variants: { type: 'string' },
      out: { type: 'string' },
      priority: { type: 'boolean', default: false },
      'no-install': { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  const list = (text: string | undefined) => text?.split(',').map((part) => part.trim()) ?? null;
  const wrong: string[] = [];
  const number = (name: string, text: string | undefined, otherwise: number) => {
    const value = text === undefined ? otherwise : Number(text);
    if (!(value > 0)) wrong.push(`--${name} takes a number above 0, not "${text}"`);
    return value;
  };
  for (const name of positionals)
    if (!ROWS.some((row) => row.name === name)) wrong.push(`there is no row "${name}"`);
  const variants = list(values.variants) ?? (values.quick ? ['split'] : [...VARIANTS]);
  for (const name of variants)
    if (!VARIANTS.some((variant) => variant === name)) wrong.push(`there are no rings "${name}"`);
  const sizes = list(values.sizes)?.map((size) => number('sizes', size, 0)) ?? null;
  const timing: Timing = {
    quick: values.quick,
    rounds: number('rounds', values.rounds, values.quick ? 1 : 5),
    warmup: number('warmup', values.warmup, values.quick ? 0.5 : 1.5),
    measure: number('measure', values.measure, values.quick ? 0.5 : 3),
  };
  if (values.help || wrong.length > 0) {
    process.stderr.write(`${wrong.length > 0 ? `${wrong.join('\n')}\n\n` : ''}${USAGE}`);
    return wrong.length > 0 ? 2 : 0;
  }
  if (values.priority) setNiceness(-20);
  const options: RowOptions = {
    install: !values['no-install'],
    only: list(values.only),
    sizes,
    variants: VARIANTS.filter((variant) => variants.includes(variant)),
  };
  return runRows(
    ROWS.filter((row) => positionals.length === 0 || positionals.includes(row.name)),
    timing,
    options,
    {
      out: values.out ?? (values.quick ? null : RESULTS),
    },
  );
}

async function runRows(
  rows: RowRunner[],
  timing: Timing,
  options: RowOptions,
  { out }: { out: string | null },
): Promise<number> {
  const lab = new Lab(timing);
  let closing = false;
  const interrupted = () => {
    if (closing) return;
    closing = true;
    lab.close();
    process.exit(130);
  };
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, interrupted);
  // Whoever read the output (`| head`) is gone.
  for (const stream of [process.stdout, process.stderr]) stream.on('error', interrupted);
  let failures = 0;
  try {
    const machine = describeMachine(lab.hugeDirectory !== null);
    for (const runner of rows) {
      lab.say(`row ${runner.name}: ${runner.title}`);
      try {
        const { rounds, measure } = runner.timing?.(timing) ?? timing;
        const row: Row = {
          row: runner.name,
          title: runner.title,
          date: new Date().toISOString(),
          rounds,
          measureSeconds: measure,
          quick: timing.quick,
          machine,
          cells: await runner.run(lab, options),
        };
        if (out !== null) {
          const results = storeRow(out, row);
          if (!timing.quick)
            writePlot(out === RESULTS ? PLOT : out.replace(/(\.json)?$/, '.svg'), results);
          if (out === RESULTS) writeTables(PAGE, results);
        }
        process.stdout.write(`${printRow(row)}\n`);
        if (row.cells.some(missed)) failures++;
      } catch (error) {
        failures++;
        lab.say(`row ${runner.name} failed: ${(error as Error).message}`);
      } finally {
        await lab.endRow();
      }
    }
  } finally {
    lab.close();
  }
  return failures === 0 ? 0 : 1;
}

function missed(cell: Cell): boolean {
  return (
    cell.limit?.verdict === 'missed' || cell.comparisons.some(({ verdict }) => verdict === 'missed')
  );
}

process.exitCode = await main();
