/**
 * `npx tsx bench/profile.ts [seconds] [node options ...]`: the switch row's load on a base started with options of node's own, such as --cpu-prof
 * or --trace-deopt, whose files stay in bench/results/. Prints the rate, the daemon's last output, and for --cpu-prof where the
 * turn worker's time went by function and line.
 */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Running, startBase, PROJECT } from './lib/candidates.ts';
import { Generator } from './lib/generator.ts';
import { Lab } from './lib/lab.ts';
import { setNiceness, sleep } from './lib/process.ts';
import { quantity } from './lib/results.ts';

interface ProfileNode {
  id: number;
  callFrame: { functionName: string; url: string; lineNumber: number };
  hitCount: number;
  positionTicks?: { line: number; ticks: number }[];
  children?: number[];
}

const [seconds = '5', ...nodeArgs] = process.argv.slice(2);
const bytes = Number(process.env.BYTES ?? 64);
setNiceness(process.getuid?.() === 0 ? -20 : 0);

const lab = new Lab({ rounds: 1, warmup: 2, measure: Number(seconds), quick: false });
const results = join(PROJECT, 'bench/results');
mkdirSync(results, { recursive: true });
let base: Running | null = null;
let generator: Generator | null = null;
try {
  const started = await startBase(lab, {
    nodeArgs,
    ...(nodeArgs.includes('--cpu-prof') ? { profileTo: results } : {}),
  });
  base = started;
  generator = await Generator.start(lab, { sockets: started.sockets });
  await generator.seed(bytes, 512);
  await sleep(2000);
  const mark = started.child.output.length;
  if (process.env.PERF) {
    const { run } = await import('./lib/process.ts');
    const half = Number(seconds) * 500;
    await sleep(half);
    await run('perf', [
      'record',
      '-o',
      join(results, 'perf.data'),
      '-g',
      '-F',
      '999',
      '-p',
      String(started.child.pid),
      '--',
      'sleep',
      String(half / 1000),
    ]);
  }
  const rate = await generator.rate(Number(seconds));
  process.stdout.write(`${bytes} B: ${quantity(rate, '/s')} datagrams/s\n`);
  const { remaining, ceiling } = await generator.drain(512);
  process.stdout.write(
    `lost ${512 - remaining}; the generator's own work allows ${quantity(ceiling, '/s')}/s\n`,
  );
  writeFileSync(join(results, 'output.txt'), started.child.output);
  process.stdout.write(`${started.child.output.slice(mark).slice(-2000)}\n`);
} finally {
  await generator?.stop();
  await base?.stop();
  lab.close();
}

if (nodeArgs.includes('--cpu-prof')) {
  const newest = readdirSync(results)
    .filter((name) => name.endsWith('.cpuprofile'))
    .sort()
    .slice(-2);
  for (const name of newest) report(name);
}

/** Self time by function and by line, largest first. */
function report(name: string): void {
  const { nodes } = JSON.parse(readFileSync(join(results, name), 'utf8')) as {
    nodes: ProfileNode[];
  };
  const functions = new Map<string, number>();
  const lines = new Map<string, number>();
  let total = 0;
  for (const { callFrame, hitCount, positionTicks } of nodes) {
    total += hitCount;
    const file = callFrame.url.replace(/^.*\/(dist|src)\//, '');
    const label = `${callFrame.functionName || '(anonymous)'} ${file}:${callFrame.lineNumber + 1}`;
    functions.set(label, (functions.get(label) ?? 0) + hitCount);
    for (const { line, ticks } of positionTicks ?? []) {
      lines.set(`${file}:${line}`, (lines.get(`${file}:${line}`) ?? 0) + ticks);
    }
  }
  process.stdout.write(`\n${name}: ${total} samples\n`);
  for (const [title, map] of [
    ['by function', functions],
    ['by line', lines],
  ] as const) {
    process.stdout.write(`  ${title}\n`);
    for (const [label, hits] of [...map].sort((a, b) => b[1] - a[1]).slice(0, 24)) {
      process.stdout.write(`    ${((hits / total) * 100).toFixed(1).padStart(5)} %  ${label}\n`);
    }
  }
}
