// The entry of `npm run demo`, `npm test` and `.ci/run`: plain Node without dependencies, so that
// it works in a fresh clone; does the set-up, then runs the real thing.
//
//     node scripts/run.mjs setup | demo | test | unit | long | ci [arguments of the real thing]

import { spawn } from 'node:child_process';
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setup } from './setup.mjs';
import { cache, complain, root, SetupError } from './steps.mjs';

const [what = 'setup', ...rest] = process.argv.slice(2);
const vitest = join(root, 'node_modules/vitest/vitest.mjs');
const tsc = join(root, 'node_modules/typescript/bin/tsc');
const biome = join(root, 'node_modules/@biomejs/biome/bin/biome');

const commands = {
  async setup() {
    await setup({ guests: true, tests: true });
    return 0;
  },
  async demo() {
    if (rest.some((word) => word !== '--keep')) {
      process.stderr.write('usage: npm run demo [-- --keep]\n');
      return rest.includes('--help') ? 0 : 2;
    }
    await setup({ guests: true, tests: false });
    return node(['--import', 'tsx', join(root, 'qemu/demo.ts'), ...rest]);
  },
  async test() {
    await setup({ guests: true, tests: true });
    return node([vitest, 'run', ...rest]);
  },
  async unit() {
    await setup({ guests: false, tests: true });
    return node([vitest, 'run', '--project', 'unit', ...rest]);
  },
  async long() {
    process.env.BASEWIRE_LONG = '1';
    return commands.test();
  },
  ci,
};

/** Set-up, type check, lint, format, all tests; ends with the plain line that a machine reads. */
async function ci() {
  const file = join(cache, 'ci-result.json');
  rmSync(file, { force: true });
  const total = { passed: 0, failed: 0, skipped: 0 };
  try {
    await setup({ guests: true, tests: true });
    for (const [name, args] of [
      ['type check', [tsc, '-p', 'tsconfig.json', '--noEmit']],
      ['lint', [biome, 'lint', '--error-on-warnings', '.']],
      ['format', [biome, 'format', '.']],
    ]) {
      process.stdout.write(`\n== ${name}\n`);
      const code = await node(args);
      total[code === 0 ? 'passed' : 'failed']++;
      process.stdout.write(`== ${name}: ${code === 0 ? 'passed' : 'FAILED'}\n`);
    }
    process.stdout.write('\n== tests\n');
    process.env.BASEWIRE_RESULT = file;
    const code = await node([vitest, 'run', ...rest]);
    if (!existsSync(file)) throw new SetupError(`The tests ended early (code ${code}).`);
    const counted = JSON.parse(readFileSync(file, 'utf8'));
    for (const key of Object.keys(total)) total[key] += counted[key];
    if (code !== 0 && counted.failed === 0) total.failed++;
  } catch (error) {
    total.failed++;
    complain(error);
  }
  process.stdout.write(
    `${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped\n`,
  );
  return total.failed === 0 ? 0 : 1;
}

/** Runs Node on our terminal; Ctrl-C reaches it by the terminal, SIGTERM is passed on. */
function node(args) {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, args, { cwd: root, stdio: 'inherit' });
    const pass = (signal) => child.kill(signal);
    const wait = () => {};
    process.on('SIGTERM', pass);
    process.on('SIGINT', wait);
    child.on('close', (code, signal) => {
      process.off('SIGTERM', pass);
      process.off('SIGINT', wait);
      if (signal) process.stderr.write(`${args.join(' ')}: ended by ${signal}\n`);
      resolve(signal ? 1 : (code ?? 1));
    });
  });
}

const command = commands[what];
if (!command) {
  process.stderr.write(`unknown: ${what}; one of ${Object.keys(commands).join(', ')}\n`);
  process.exitCode = 2;
} else {
  try {
    process.exitCode = await command();
  } catch (error) {
    complain(error);
  }
}
