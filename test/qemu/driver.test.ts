// The guest's own doings and QEMU's around a running base: the driver taken from the device and
// given back, another kernel started by the running one, the device and its back-end unplugged and
// plugged, a snapshot saved and loaded. Each time datagrams flow again, and the base keeps no
// descriptor and no mapping of what was.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, onTestFailed, test } from 'vitest';
import * as hotplug from '../../qemu/hotplug.ts';
import { kexec } from '../../qemu/kexec.ts';
import { newerQemu, type Qemu, systemQemu } from '../../qemu/qemu.ts';
import { Site } from '../../qemu/site.ts';
import { randomData, sendData } from '../../qemu/transfer.ts';
import { until } from '../../qemu/wait.ts';
import { LONG } from '../support/random.ts';
import { balanced } from './books.ts';
import { type Need, suite } from './suite.ts';

const REBINDS = LONG ? 50 : 5;
const REPLUGS = LONG ? 10 : 2;
const MEGABYTES = 5;

driver('drivers and devices that come and go', ['guests'], systemQemu());
if (LONG) {
  driver('drivers and devices that come and go, newer QEMU', ['guests', 'newerQemu'], newerQemu());
}

/** What the base holds open or mapped. */
interface Held {
  descriptors: number;
  mappings: number;
}

function driver(title: string, needs: Need[], qemu: Qemu | undefined): void {
  suite(title, needs, (can) => {
    let site: Site;
    let sum = '';
    let alone: Held;
    let running: Held;

    beforeAll(async () => {
      if (!can || !qemu) return;
      site = await Site.start({
        qemu,
        guests: {
          web: { number: 11, device: ['id=nic'], memory: 512, nextKernel: true },
          db: { number: 12 },
        },
      });
      alone = held();
      await site.boot();
      sum = await randomData(site.vm('web'), MEGABYTES);
      await trafficFlows();
      running = held();
    }, 300_000);

    afterAll(async () => {
      await site?.stop();
    });

    afterEach(async () => {
      if (can && site.daemon.running) await balanced(site.daemon);
    });

    function phase(name: string, timeout: number, body: () => Promise<void>): void {
      test(name, { timeout }, async (context) => {
        onTestFailed(() => {
          process.stderr.write(`${site.transcript()}\n`);
        });
        if (name.includes('kexec')) {
          const { status } = await site.vm('web').run('command -v kexec');
          if (status !== 0) context.skip('no kexec in the guests (no C compiler at set-up)');
        }
        await body();
      });
    }

    phase(
      `the driver is unbound and bound ${REBINDS} times`,
      60_000 + REBINDS * 6_000,
      async () => {
        const connects = await site.daemon.count('web', 'connects');
        for (let round = 0; round < REBINDS; round++) {
          await hotplug.rebindDriver(site.vm('web'));
          await site.vm('web').ok('ping -c 1 -W 10 db');
          await holds(running);
        }
        await trafficFlows();
        // All on the same connection.
        expect(await site.daemon.count('web', 'connects')).toBe(connects);
      },
    );

    phase('its kernel starts another one (kexec): on the same connection', 240_000, async () => {
      const web = site.vm('web');
      const connects = await site.daemon.count('web', 'connects');
      await web.ok('echo before >/run/which');
      await kexec(web);
      expect((await web.run('cat /run/which')).status).not.toBe(0);
      sum = await randomData(web, MEGABYTES);
      await trafficFlows();
      await holds(running);
      expect(await site.daemon.count('web', 'connects')).toBe(connects);
      expect(await web.ok('dmesg')).not.toMatch(/is not a head|BUG:|Oops|hw csum/);
    });

    phase(`the device is unplugged and plugged ${REPLUGS} times`, 180_000, async () => {
      for (let round = 0; round < REPLUGS; round++) {
        await hotplug.unplug(site.vm('web'), 'nic');
        const unplugged = await site.daemon.vm('web');
        expect(unplugged.state).not.toBe('running');
        await hotplug.plug(site.vm('web'));
        await site.vm('web').ok('ping -c 1 -W 10 db');
      }
      await trafficFlows();
      await holds(running);
    });

    phase('the device and its back-end are removed and added', 180_000, async () => {
      const web = site.vm('web');
      await hotplug.unplug(web, 'nic');
      await hotplug.removeBackend(web);
      await site.daemon.untilState('web', 'waiting', 20_000);
      await hotplug.addBackend(web);
      await hotplug.plug(web);
      await trafficFlows();
      await holds(running);
    });

    phase(
      'a snapshot is saved and loaded: the guest is back in the past, and connected',
      240_000,
      async () => {
        const web = site.vm('web');
        await hotplug.addSnapshotDisk(web, join(site.daemon.folder, 'disk.qcow2'));
        await web.ok('echo before >/run/when');
        await hotplug.saveSnapshot(web);
        await trafficFlows();
        await web.ok('echo after >/run/when');
        await hotplug.loadSnapshot(web);
        await web.qmp.execute('cont');
        expect(await web.ok('cat /run/when')).toBe('before');
        await trafficFlows();
        await holds(running);
      },
    );

    phase('nothing is left of guests that ended', 120_000, async () => {
      for (const name of ['web', 'db']) {
        expect(await site.vm(name).ok('dmesg')).not.toMatch(/is not a head|BUG:|Oops|hw csum/);
        await site.vm(name).kill();
        await site.daemon.untilState(name, 'waiting', 20_000);
      }
      await holds(alone);
    });

    /** Both ways: small datagrams there and back, and a transfer out of web. */
    async function trafficFlows(): Promise<void> {
      await site.vm('db').ok('ping -c 2 -i 0.2 -W 10 web');
      expect(await sendData(site.vm('web'), 'db')).toBe(sum);
    }

    function held(): Held {
      const maps = readFileSync(`/proc/${site.daemon.pid}/maps`, 'utf8').split('\n');
      return {
        descriptors: site.daemon.descriptors().length,
        // Guest memory, as QEMU calls it.
        mappings: maps.filter((line) => line.includes('/memfd:memory-backend-memfd')).length,
      };
    }

    /** Asking for the status takes a descriptor for a moment, so it may take one. */
    async function holds(expected: Held): Promise<void> {
      await until('the base to hold what it held', 10_000, () => {
        const now = held();
        return now.descriptors === expected.descriptors && now.mappings === expected.mappings;
      }).catch(() => expect(held()).toEqual(expected));
    }
  });
}
