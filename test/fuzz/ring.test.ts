/**
 * Fuzzer of the rings: random chains, tables, heads, indices, headers and frames through the real turn, split and packed, with
 * subsets of the features; the rules are in `oracle.ts`. About two seconds; ten minutes with BASEWIRE_LONG=1, or BASEWIRE_SECONDS.
 *
 * BASEWIRE_SEED repeats one case. A case that fails is written to test/corpus/ring/, and whatever lies there is done again
 * in every run.
 */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { beforeAll, describe, expect, test } from 'vitest';
import { duration } from '../support/random.ts';
import { fuzzCase } from './case.ts';
import { Lab, type Op } from './lab.ts';

const CORPUS = fileURLToPath(new URL('../corpus/ring', import.meta.url));
/** Cases of every run: seeds 1 to this. */
const ALWAYS = 20;
const MILLISECONDS = duration(2000);

interface Kept {
  what: string;
  ops: Op[];
}

describe('rings', () => {
  let lab: Lab;
  beforeAll(() => {
    lab = new Lab();
  });

  const kept = readdirSync(CORPUS).filter((name) => name.endsWith('.json'));
  test.each(kept)('once failed: %s', (name) => {
    const { ops } = JSON.parse(readFileSync(join(CORPUS, name), 'utf8')) as Kept;
    for (const op of ops) lab.do(op);
  });

  test('random rings', { timeout: MILLISECONDS + 60_000 }, () => {
    const given = process.env.BASEWIRE_SEED;
    let seed = given === undefined ? Date.now() >>> 0 : Number(given) >>> 0;
    const first = seed;
    // The same ones in every run: they have been everywhere, however slow this machine is.
    if (given === undefined) for (let fixed = 1; fixed <= ALWAYS; fixed++) runCase(fixed);
    const start = performance.now();
    const processor = process.cpuUsage();
    const before = lab.oracle.chains;
    let cases = 0;
    do {
      runCase(seed);
      cases++;
      seed = (seed + 1) >>> 0;
    } while (given === undefined && performance.now() - start < MILLISECONDS);
    const { user, system } = process.cpuUsage(processor);
    const chains = lab.oracle.chains - before;
    const rate = Math.round((chains / (user + system)) * 1e6);
    console.log(
      `${cases} cases from seed ${first}: ${chains} chains, ${rate} per second of processor time`,
    );
    if (given === undefined) expectVariety();
  });

  /** One case; on failure done once more, written down, so that it can be kept. */
  function runCase(seed: number): void {
    try {
      fuzzCase(lab, seed);
    } catch (error) {
      lab.record = [];
      try {
        lab.end();
        lab.record = [];
        fuzzCase(lab, seed);
      } catch {
        // The same, or another because of what went before: what was done is what is kept.
      }
      const what = error instanceof Error ? error.message : String(error);
      mkdirSync(CORPUS, { recursive: true });
      const file = join(CORPUS, `seed-${seed}.json`);
      writeFileSync(file, `${JSON.stringify({ what, ops: lab.record } satisfies Kept)}\n`);
      throw new Error(`BASEWIRE_SEED=${seed}: ${what}; kept in ${file}`, { cause: error });
    }
  }

  /** It has been where it shall look: a fuzzer whose chains all die at the first check finds nothing. */
  function expectVariety(): void {
    const met = new Set<string>();
    for (const vm of [0, 1]) {
      for (const [reason, count] of lab.drops(vm)) if (count > 0) met.add(reason);
      for (const name of ['delivered', 'broadcasts', 'badInputChains', 'ringsBroken'] as const)
        if (lab.counters.get(vm, name) > 0) met.add(name);
    }
    expect([...met]).toEqual(
      expect.arrayContaining([
        'delivered',
        'broadcasts',
        'badInputChains',
        'ringsBroken',
        'chainLoop',
        'chainBadNext',
        'chainBadAddress',
        'chainBadIndirect',
        'chainBadOrder',
        'chainBadDirection',
        'shortChain',
        'oversize',
        'runt',
        'spoofed',
        'badIp',
        'badChecksumOffload',
        'badSegmentation',
        'inputTooSmall',
        'receiverNotRunning',
        'ringDisabled',
      ]),
    );
  }
});
