// Builds the addon with AddressSanitizer and UndefinedBehaviorSanitizer into .cache/asan, beside the
// ordinary build, and runs the addon's tests against it. Arguments are passed on to vitest:
//
//     npm run test:asan -- test/native/copies.test.ts

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
const words = ['run', '--project', 'unit', ...tests];
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
      // SIGBUS handler is part of what is tested.
      LD_PRELOAD: `${library('libasan.so')} ${library('libubsan.so')}`,
      ASAN_OPTIONS: 'detect_leaks=0:handle_sigbus=0:detect_odr_violation=0',
      UBSAN_OPTIONS: 'print_stacktrace=1:halt_on_error=1',
    },
  },
);
process.exitCode = result.status ?? 1;
