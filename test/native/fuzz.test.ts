/**
 * Builds the unsafe core of the addon with sanitizers, without Node, and runs its fuzzer (native/fuzz/copies.cc). Short
 * here; BASEWIRE_LONG=1 runs it much longer. The seed is printed on failure: `copies SEED BATCHES` repeats it.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';

const root = fileURLToPath(new URL('../../', import.meta.url));
const compiler = process.env.CXX ?? 'g++';
const long = process.env.BASEWIRE_LONG !== undefined;
const SANITIZERS = ['-fsanitize=address,undefined', '-fno-sanitize-recover=all'];

function run(command: string, words: string[], milliseconds: number) {
  return spawnSync(command, words, {
    cwd: root,
    encoding: 'utf8',
    timeout: milliseconds,
    // Our SIGBUS handler is what is tested: the sanitizer must not take its place.
    env: {
      ...process.env,
      ASAN_OPTIONS: 'handle_sigbus=0:detect_leaks=0',
      UBSAN_OPTIONS: 'print_stacktrace=1',
    },
  });
}

/** Why the fuzzer can't be built here, or null. */
function obstacle(): string | null {
  const probe = spawnSync(compiler, ['-x', 'c++', '-', '-o', '/dev/null', ...SANITIZERS], {
    input: 'int main() { return 0; }',
    encoding: 'utf8',
  });
  if (probe.error) return `needs a C++ compiler: ${probe.error.message}`;
  return probe.status === 0 ? null : `${compiler} has no sanitizers: ${probe.stderr.slice(0, 200)}`;
}

const reason = obstacle();
let folder: string;

describe('the copy core, with AddressSanitizer and UndefinedBehaviorSanitizer', () => {
  beforeEach((context) => context.skip(reason !== null, reason ?? ''));

  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'basewire-fuzz-'));
    if (reason !== null) return;
    const sources = [
      'native/fuzz/copies.cc',
      'native/copy.cc',
      'native/regions.cc',
      'native/passed.cc',
    ];
    const flags = ['-std=gnu++17', '-O1', '-g', '-Wall', '-Wextra', '-Werror', ...SANITIZERS];
    const target = join(folder, 'copies');
    const built = run(compiler, [...flags, ...sources, '-o', target, '-pthread'], 120_000);
    expect(built.stderr).toBe('');
    expect(built.status).toBe(0);
  }, 120_000);

  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  test('random rows and shrinking files do what the model does, and nothing else', () => {
    const seeds = long ? Array.from({ length: 20 }, () => (Math.random() * 2 ** 32) >>> 0) : [1];
    seeds.push((Math.random() * 2 ** 32) >>> 0);
    for (const seed of seeds) {
      const result = run(join(folder, 'copies'), [`${seed}`, long ? '200000' : '5000'], 300_000);
      expect(result.stderr).toBe('');
      expect(result.status, `seed ${seed}`).toBe(0);
      const counts = /(\d+) rows refused, (\d+) files shrunk, (\d+) regions faulted/.exec(
        result.stdout,
      );
      // It met what it is there for.
      for (const count of counts?.slice(1) ?? ['0']) expect(Number(count)).toBeGreaterThan(0);
    }
  }, 6_000_000);

  test('a hugetlbfs file that shrinks', (context) => {
    const result = run(join(folder, 'copies'), ['huge'], 30_000);
    context.skip(result.status === 77, 'no huge pages of 2 MiB are free');
    expect(result.stderr).toBe('');
    expect(result.status).toBe(0);
  });
});
