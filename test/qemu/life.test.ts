// The life of a VM, with each QEMU there is: a reboot from within, stop and cont, QEMU killed and
// started again, the base killed and started again. Each time datagrams flow again afterwards.

import { afterAll, afterEach, beforeAll, expect, onTestFailed, test } from 'vitest';
import { newerQemu, type Qemu, systemQemu } from '../../qemu/qemu.ts';
import { Site } from '../../qemu/site.ts';
import { beginSending, randomData, sendData } from '../../qemu/transfer.ts';
import { until } from '../../qemu/wait.ts';
import { balanced } from './books.ts';
import { type Need, suite } from './suite.ts';

const MEGABYTES = 10;

life("a VM's life under the system's QEMU", ['guests'], systemQemu());
life("a VM's life under the newer QEMU", ['guests', 'newerQemu'], newerQemu());

function life(title: string, needs: Need[], qemu: Qemu | undefined): void {
  suite(title, needs, (can) => {
    let site: Site;
    let sum = '';

    beforeAll(async () => {
      if (!can || !qemu) return;
      site = await Site.start({ qemu, guests: { web: { number: 11 }, db: { number: 12 } } });
      await site.boot();
      sum = await randomData(site.vm('web'), MEGABYTES);
    });

    afterAll(async () => {
      await site?.stop();
    });

    afterEach(async () => {
      if (can) await balanced(site.daemon);
    });

    function phase(name: string, body: () => Promise<void>, timeout = 120_000): void {
      test(name, { timeout }, async () => {
        onTestFailed(() => {
          process.stderr.write(`${site.transcript()}\n`);
        });
        await body();
      });
    }

    /** Both ways: small datagrams there and back, and a transfer out of web. */
    async function trafficFlows(): Promise<void> {
      await site.vm('db').ok('ping -c 3 -i 0.2 -A web');
      await site.vm('web').ok('ping -c 3 -i 0.2 -A db');
      expect(await sendData(site.vm('web'), 'db')).toBe(sum);
    }

    phase('traffic flows after the first boot', trafficFlows);

    const reboot = 'a guest reboots: its rings stop and start again on the same connection';
    phase(reboot, rebooted, 240_000);

    async function rebooted(): Promise<void> {
      const { events } = await site.daemon.vm('db');
      await site.vm('db').reboot();
      await trafficFlows();
      const after = await site.daemon.vm('db');
      expect(after.events).toMatchObject({ connects: (events as { connects: number }).connects });
    }

    phase('a guest is stopped in the middle of a transfer and goes on', async () => {
      const { qmp } = site.vm('db');
      const before = await bytesInto('db');
      const done = await beginSending(site.vm('web'), 'db');
      await until(
        'the transfer to flow',
        20_000,
        async () => (await bytesInto('db')) > before + 1e5,
      );
      await qmp.execute('stop');
      await until('db to be stopped', 5_000, () => qmp.events.includes('STOP'));
      await site.vm('web').ok('ping -c 1 base');
      await qmp.execute('cont');
      expect(await done()).toBe(sum);
      await trafficFlows();
    });

    phase('QEMU is killed and started again: the port is there for the new one', async () => {
      await site.vm('db').kill();
      await site.daemon.untilState('db', 'waiting', 10_000);
      expect(await site.daemon.count('db', 'disconnects')).toBeGreaterThan(0);
      await site.vm('db').start();
      await trafficFlows();
    });

    phase('the base is killed and started again: the guests go on where they were', async () => {
      const boots = site.vm('web').agent.boots;
      await site.daemon.die();
      await site.daemon.restart();
      for (const name of ['web', 'db']) await site.daemon.untilState(name, 'running', 15_000);
      await trafficFlows();
      expect(site.vm('web').agent.boots).toBe(boots);
      for (const name of ['web', 'db']) {
        expect(await site.vm(name).ok('dmesg')).not.toContain('is not a head');
      }
    });

    async function bytesInto(name: string): Promise<number> {
      return (await site.daemon.vm(name)).input.bytes;
    }
  });
}
