// Guests whose rings are packed: datagrams to a guest with split rings and back, the driver taken
// from the device and given back, the base killed. After that a packed ring's state is known to
// nobody (docs/decisions/0015-packed-rings-off.md): its driver starts afresh, others go on.

import { afterAll, afterEach, beforeAll, expect, onTestFailed, test } from 'vitest';
import { rebindDriver } from '../../qemu/hotplug.ts';
import { newerQemu, type Qemu, systemQemu } from '../../qemu/qemu.ts';
import { BASE_ADDRESS, Site } from '../../qemu/site.ts';
import { beginSending, randomData, sendData } from '../../qemu/transfer.ts';
import { LONG } from '../support/random.ts';
import { balanced } from './books.ts';
import { type Need, suite } from './suite.ts';

const REBINDS = LONG ? 50 : 3;
const KILLS = LONG ? 10 : 2;
const MEGABYTES = 5;

packed('packed rings', ['guests'], systemQemu());
if (LONG) packed('packed rings, newer QEMU', ['guests', 'newerQemu'], newerQemu());

function packed(title: string, needs: Need[], qemu: Qemu | undefined): void {
  suite(title, needs, (can) => {
    let site: Site;

    beforeAll(async () => {
      if (!can || !qemu) return;
      const lan = { subnet: '10.77.0.0/24', address: BASE_ADDRESS, packed: true };
      site = await Site.start({
        qemu,
        config: { networks: { lan } },
        guests: { web: { number: 11 }, split: { number: 12, device: ['packed=off'] } },
      });
      await site.boot();
    }, 300_000);

    afterAll(async () => {
      await site?.stop();
    });

    afterEach(async () => {
      if (can) await balanced(site.daemon);
    });

    function phase(name: string, timeout: number, body: () => Promise<void>): void {
      test(name, { timeout }, async () => {
        onTestFailed(() => {
          process.stderr.write(`${site.transcript()}\n`);
        });
        await body();
      });
    }

    phase('the guests have what they asked for', 60_000, async () => {
      expect(await formats('web')).toEqual(['packed', 'packed']);
      expect(await formats('split')).toEqual(['split', 'split']);
      await trafficFlows();
    });

    phase(
      `the driver is unbound and bound ${REBINDS} times`,
      60_000 + REBINDS * 6_000,
      async () => {
        const connects = await site.daemon.count('web', 'connects');
        for (let round = 0; round < REBINDS; round++) {
          await rebindDriver(site.vm('web'));
          await site.vm('web').ok('ping -c 1 -W 10 split');
        }
        expect(await formats('web')).toEqual(['packed', 'packed']);
        await trafficFlows();
        expect(await site.daemon.count('web', 'connects')).toBe(connects);
      },
    );

    phase(`the base is killed ${KILLS} times under load`, 120_000 + KILLS * 20_000, async () => {
      for (let kill = 0; kill < KILLS; kill++) {
        // Full speed, so that it dies with datagrams on their way.
        await beginSending(site.vm('web'), 'split');
        await site.daemon.die();
        await site.daemon.restart();
        await site.daemon.untilState('split', 'running', 20_000);
        // It has not been touched, and need not be.
        await site.vm('split').ok('ping -c 1 -W 10 base');
        await rebindDriver(site.vm('web'));
        await site.daemon.untilState('web', 'running', 20_000);
        await trafficFlows();
      }
    });

    phase('the guests noticed nothing else', 60_000, async () => {
      for (const name of ['web', 'split']) {
        expect(site.vm(name).agent.boots).toBe(1);
        expect(await site.vm(name).ok('dmesg')).not.toMatch(/is not a head|BUG:|Oops|hw csum/);
      }
    });

    async function formats(name: string): Promise<string[]> {
      const { rings } = await site.daemon.vm(name);
      const started = (rings as { format: string; started: boolean }[]).filter(
        (ring) => ring.started,
      );
      return started.map((ring) => ring.format);
    }

    /** Both ways: small datagrams there and back, and a transfer each way. */
    async function trafficFlows(): Promise<void> {
      const [web, split] = [site.vm('web'), site.vm('split')];
      await split.ok('ping -c 2 -i 0.2 -W 10 web');
      await web.ok('ping -c 2 -i 0.2 -W 10 split');
      const fromWeb = await randomData(web, MEGABYTES);
      expect(await sendData(web, 'split')).toBe(fromWeb);
      const fromSplit = await randomData(split, MEGABYTES);
      expect(await sendData(split, 'web')).toBe(fromSplit);
    }
  });
}
