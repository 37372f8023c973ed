// Compiles the addon with node-gyp, using the C headers beside the running `node` where they are
// there (as in Debian's, NodeSource's and nodejs.org's packages), so that it builds offline, too.

import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { nodeHeaders } from './packages.mjs';
import { root } from './steps.mjs';

const headers = nodeHeaders();
const args = [join(root, 'node_modules/node-gyp/bin/node-gyp.js'), 'rebuild', '--silent'];
if (headers) args.push(`--nodedir=${headers}`);
const result = spawnSync(process.execPath, args, { cwd: root, stdio: 'inherit' });
process.exitCode = result.status ?? 1;
