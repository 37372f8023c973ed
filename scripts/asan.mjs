// Builds the addon with AddressSanitizer and UndefinedBehaviorSanitizer into .cache/asan, beside the
// ordinary build, and runs the addon's tests against it, or any others that start no virtual machine: daemons and all other processes that they
// start take the sanitized addon, too. Arguments are passed on to vitest:
//
//     npm run test:asan                              the addon's own tests
//     npm run test:asan -- test/hostile test/way     a part of the suite
//     npm run test:asan -- test                      all of it: half an hour

import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { nodeHeaders } from './packages.mjs';
import { cache, root } from './steps.mjs';

// node-gyp always builds into `build`, so it works in a folder of links to the sources.
const project = join(cache, 'asan');
mkdirSync(project, { recursive: true });
for (const name of ['binding.gyp', 'native', 'node_modules', 'package.json']) {
  const link = join(project, name);
  if (!existsSync(link)) symlinkSync(join(root, name), link);
}
const gyp = [join(root, 'node_modules/node-gyp/bin/node-gyp.js')];
const headers = nodeHeaders();
if (headers) gyp.push(`--nodedir=${headers}`);
const run = (words) =>
  spawnSync(process.execPath, [...gyp, '--silent', ...words], { cwd: project, stdio: 'inherit' });
for (const words of [['configure', '--', '-Dasan=1'], ['build']]) {
  const { status } = run(words);
  if (status !== 0) process.exit(status ?? 1);
}

const library = (name) =>
  execFileSync(process.env.CXX ?? 'g++', [`-print-file-name=${name}`], { encoding: 'utf8' }).trim();
const tests = process.argv.length > 2 ? process.argv.slice(2) : ['test/native', 'test/platform'];
// The benchmark's test starts DPDK, which is not ours to judge.
const words = ['run', '--project', 'unit', '--exclude', 'test/bench/**', ...tests];
const result = spawnSync(
  process.execPath,
  [join(root, 'node_modules/vitest/vitest.mjs'), ...words],
  {
    cwd: root,
    stdio: 'inherit',
    env: {
      ...process.env,
      BASEWIRE_SANITIZED_ADDON: join(project, 'build/Release/basewire.node'),
      NODE_OPTIONS: `--require=${join(root, 'scripts/asan-preload.cjs')}`,
      // The sanitizer must be the first library of the process; V8 leaks on purpose at exit; and our
      // SIGBUS handler is part of what is tested. Other programs (iproute2) have faults of their own in their string calls. Freed memory is
      // kept back for a while, which the tests would take for a leak.
      LD_PRELOAD: `${library('libasan.so')} ${library('libubsan.so')}`,
      ASAN_OPTIONS:
        'detect_leaks=0:handle_sigbus=0:detect_odr_violation=0:replace_str=0:intercept_strlen=0:intercept_strchr=0:intercept_strndup=0:quarantine_size_mb=2',
      UBSAN_OPTIONS: 'print_stacktrace=1:halt_on_error=1',
    },
  },
);
process.exitCode = result.status ?? 1;
