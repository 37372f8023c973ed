// A vitest reporter for the end of a run: every skipped test by name with its reason, every
// failed one by name, then the plain line `N passed, N failed, N skipped`. With BASEWIRE_RESULT
// set it writes the three numbers there, too (for `.ci/run`).

import { writeFileSync } from 'node:fs';
import type { Reporter, TestCase, TestModule } from 'vitest/node';

export default class Summary implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], errors: readonly unknown[]): void {
    const skipped: string[] = [];
    const failed: string[] = [];
    let passed = 0;
    for (const module of modules) {
      // A file that can't be loaded, or a failed hook, is a failure even without a failed test.
      if (module.errors().length > 0) failed.push(module.relativeModuleId);
      for (const suite of module.children.allSuites()) {
        if (suite.errors().length > 0)
          failed.push(`${module.relativeModuleId} > ${suite.fullName}`);
      }
      for (const test of module.children.allTests()) {
        const result = test.result();
        if (result.state === 'passed') passed++;
        else if (result.state === 'failed') failed.push(nameOf(module, test));
        else {
          const note = result.state === 'skipped' ? result.note : undefined;
          const name = nameOf(module, test);
          // Some have it in their name, or their suite's, in parentheses.
          const reason = note ?? (/\(.+\)/.test(name) ? '' : 'no reason given');
          skipped.push(reason === '' ? name : `${name}: ${reason}`);
        }
      }
    }
    if (errors.length > 0) failed.push(`${errors.length} error(s) outside of any test`);
    for (const line of skipped) process.stdout.write(`skipped: ${line}\n`);
    for (const line of failed) process.stdout.write(`FAILED:  ${line}\n`);
    process.stdout.write(`${passed} passed, ${failed.length} failed, ${skipped.length} skipped\n`);
    const file = process.env.BASEWIRE_RESULT;
    if (file) {
      const numbers = { passed, failed: failed.length, skipped: skipped.length };
      writeFileSync(file, JSON.stringify(numbers));
    }
  }
}

function nameOf(module: TestModule, test: TestCase): string {
  return `${module.relativeModuleId} > ${test.fullName}`;
}
