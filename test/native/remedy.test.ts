/** What people are told where the addon can't be loaded; the whole sentence is in test/commands/cli.test.ts. */
import { expect, test } from 'vitest';
import { remedyFor } from '../../src/native.ts';

test.each([
  'basewire.node: failed to map segment from shared object',
  'basewire.node: cannot allocate memory in static TLS block',
])('no address space: %s', (reason) => {
  expect(remedyFor(reason)).toContain('ulimit -v');
});

test.each([
  'basewire.node: cannot open shared object file: No such file or directory',
  'The module was compiled against a different Node.js version',
])('not built, or for another Node: %s', (reason) => {
  expect(remedyFor(reason)).toContain('npm run build');
});
