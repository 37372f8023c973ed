/** Whoever starts it with CAP_NET_RAW as another user than root: it goes, whatever the configuration says. Needs root, to become that user. */
import { readdirSync, readFileSync } from 'node:fs';
import { expect, onTestFinished, test } from 'vitest';
import { Daemon, type DaemonConfig } from '../support/daemon.ts';
import { THREE_VMS } from '../support/traffic.ts';

const NOBODY = 65_534;
const IDS = [`--reuid=${NOBODY}`, `--regid=${NOBODY}`, '--clear-groups'];
const UNDER = ['setpriv', ...IDS, '--inh-caps=+net_raw', '--ambient-caps=+net_raw'];
const NONE = '0'.repeat(16);

const CASES: [string, Partial<DaemonConfig>][] = [
  ['without adapters', {}],
  ['which `user:` names, too', { user: NOBODY, group: NOBODY }],
  [
    'which `user:` names, too, with an adapter',
    {
      user: NOBODY,
      group: NOBODY,
      vms: { ...THREE_VMS, b: { ...THREE_VMS.b, management: true } },
      adapters: { uplink: { interface: 'bw-none', network: 'lan', controllers: ['b'] } },
    },
  ],
];

const asRoot = process.getuid!() === 0;
test.skipIf(!asRoot).each(CASES)('another user %s', async (_, config) => {
  const daemon = await Daemon.start({ vms: THREE_VMS, ...config }, { owner: NOBODY, under: UNDER });
  onTestFinished(() => daemon.kill());
  for (const task of readdirSync(`/proc/${daemon.pid}/task`)) {
    const status = readFileSync(`/proc/${daemon.pid}/task/${task}/status`, 'latin1');
    const sets = [...status.matchAll(/^Cap(?:Prm|Eff|Amb):\s*(\w+)$/gm)];
    expect(sets.map(([, bits]) => bits)).toEqual([NONE, NONE, NONE]);
  }
});
