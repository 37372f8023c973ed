/** The daemon in a process of its own: signals that come before it listens to them, and again while it ends; and where it runs. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { BUILT } from '../support/daemon.ts';
import { ended, ready, startProgram } from '../support/running.ts';
import { until } from '../support/until.ts';
import { testFolder } from '../supervision/folder.ts';

const COMMAND = fileURLToPath(new URL('../../dist/cli.js', import.meta.url));

/** Sends its own process signals when it loads the addon: before a daemon is made. */
const EARLY = `
const { dlopen } = process;
if (require('node:worker_threads').isMainThread)
  process.dlopen = (...words) => {
    for (const signal of ['SIGUSR1', 'SIGUSR2', 'SIGHUP']) process.kill(process.pid, signal);
    return dlopen.apply(process, words);
  };
`;

/** The arguments of each form of the daemon, with everything in a folder of its own. */
const FORMS: [form: string, words: (folder: string) => string[]][] = [
  [
    'run',
    (folder) => {
      const config = {
        networks: { lan: { subnet: '10.77.0.0/24', address: '10.77.0.1' } },
        vms: { web: { socket: join(folder, 'web.sock'), addresses: ['10.77.0.11'] } },
        admin: { socket: join(folder, 'admin.sock') },
      };
      writeFileSync(join(folder, 'c.yaml'), JSON.stringify(config));
      return ['run', '-c', join(folder, 'c.yaml')];
    },
  ],
  ['--socket-path', (folder) => ['--log-level=info', `--socket-path=${join(folder, 'vm.sock')}`]],
];

describe.skipIf(!BUILT)(
  `the daemon’s process${BUILT ? '' : ' (skipped: dist/ is not built)'}`,
  () => {
    it.each(FORMS)('%s: neither end it nor open a debugger before it listens', async (_, words) => {
      const folder = testFolder();
      const early = join(folder, 'early.cjs');
      writeFileSync(early, EARLY);
      const node = [process.execPath, '--require', early, COMMAND];
      const daemon = startProgram([...node, ...words(folder)]);
      await ready(daemon);
      daemon.child.kill('SIGTERM');
      expect(await ended(daemon)).toEqual({ code: 0, signal: null });
      expect(daemon.stderr()).toBe('');
    });

    it.each(FORMS)('%s: the folder it was started in may be gone', async (_, words) => {
      const folder = testFolder();
      const gone = join(folder, 'gone');
      mkdirSync(gone);
      const command = ['sh', '-c', 'cd "$1" && rmdir "$1" && shift && exec "$@"', 'sh', gone];
      const daemon = startProgram([...command, process.execPath, COMMAND, ...words(folder)]);
      await ready(daemon);
      daemon.child.kill('SIGTERM');
      expect(await ended(daemon)).toEqual({ code: 0, signal: null });
    });

    it.each(FORMS)('%s: again and again while it ends, they change nothing', async (_, words) => {
      for (const signal of ['SIGTERM', 'SIGINT'] as const) {
        const daemon = startProgram([process.execPath, COMMAND, ...words(testFolder())]);
        await ready(daemon);
        const end = await until('the end', () => {
          for (let count = 0; count < 10; count++) daemon.child.kill(signal);
          return daemon.exit();
        });
        expect(end).toEqual({ code: 0, signal: null });
      }
    });
  },
);
