// Live migration on one host: the VM `web` has two sockets, and moves from the QEMU on the first to
// one on the second and back, while TCP connections run out of it and into it. What comes in lies
// in pages that the base wrote, and once it comes when they have been sent already, and waits unread
// until the guest has moved: a page that the base had not logged would arrive stale, and the
// receiver's sha256 (computed in the moved guest) would tell.

import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, onTestFailed, test } from 'vitest';
import { Lan } from '../../qemu/lan.ts';
import { newerQemu, type Qemu, systemQemu } from '../../qemu/qemu.ts';
import { ADAPTER, Site } from '../../qemu/site.ts';
import { Stream } from '../../qemu/stream.ts';
import { until } from '../../qemu/wait.ts';
import { Vm } from '../../qemu/vm.ts';
import { isRoot } from '../../scripts/packages.mjs';
import { LONG } from '../support/random.ts';
import { balanced } from './books.ts';
import { type Need, suite } from './suite.ts';

/** Bytes a second while nothing should come to an end, and when it should. */
const CRAWL = 1 << 20;
const FAST = 1 << 30;
/** Memory goes in a few seconds. */
const STEADY = 32 << 20;
/** Milliseconds that the guest may stand still: more than any network would allow, for a busy machine. */
const DOWNTIME = 2000;
/** It does not come to an end before it is let. */
const NO_DOWNTIME = 1;
/** Bytes that are not sent yet when the guest stops to read what comes in. */
const LAST_PART = 48 << 20;
/** Bytes that wait in the guest then, at least. */
const UNREAD = 30_000;

interface Migration {
  status: string;
  ram?: { transferred: number; remaining: number };
}

migration('live migration under TCP', ['guests'], systemQemu());
if (LONG) migration('live migration, newer QEMU', ['guests', 'newerQemu'], newerQemu());

function migration(title: string, needs: Need[], qemu: Qemu | undefined): void {
  suite(title, needs, (can) => {
    let folder: string;
    let lan: Lan | undefined;
    let site: Site;
    /** The QEMU that the guest runs under now. */
    let web: Vm;
    let moves = 0;
    const others: Vm[] = [];
    let out: Stream;
    let into: Stream;

    beforeAll(async () => {
      if (!can || !qemu) return;
      folder = mkdtempSync(join(tmpdir(), 'basewire-sockets-'));
      if (isRoot) lan = new Lan();
      site = await Site.start({
        qemu,
        lan,
        guests: {
          web: {
            number: 11,
            management: true,
            // Without it QEMU leaves the announcement to us (SEND_RARP).
            device: ['guest_announce=off'],
            vm: { socket: undefined, sockets: [join(folder, 'web.1'), join(folder, 'web.2')] },
          },
          db: { number: 12 },
        },
      });
      await site.boot();
      web = site.vm('web');
      out = await Stream.begin(web, 'db');
      into = await Stream.begin(site.vm('db'), 'web');
    }, 400_000);

    afterAll(async () => {
      await Promise.all(others.map((vm) => vm.stop()));
      await site?.stop();
      lan?.remove();
      if (folder) rmSync(folder, { recursive: true, force: true });
    });

    afterEach(async () => {
      if (can) await balanced(site.daemon);
    });

    function phase(name: string, body: () => Promise<void>): void {
      test(name, { timeout: 240_000 }, async (context) => {
        onTestFailed(() => {
          const more = others.map((vm) => vm.transcript()).join('\n');
          process.stderr.write(`${site.transcript()}\n${more}\n`);
        });
        if (name.includes('LAN') && lan === undefined) context.skip('not run as root: no LAN');
        await body();
      });
    }

    phase('a migration that is cancelled: the guest goes on where it was', async () => {
      const target = await incoming(2);
      await setSpeed(CRAWL);
      await web.qmp.execute('migrate', { uri: target.uri });
      await until('pages to be sent', 60_000, async () => {
        const { status, ram } = await progress();
        expect(['setup', 'active']).toContain(status);
        return (ram?.transferred ?? 0) > CRAWL;
      });
      await bothFlow();
      await web.qmp.execute('migrate_cancel');
      await until('the migration to be cancelled', 60_000, async () => {
        return (await progress()).status === 'cancelled';
      });
      await target.vm.stop();
      await bothFlow();
      expect(await site.daemon.vm('web')).toMatchObject({ state: 'running' });
    });

    phase('from the first socket to the second, what came in late unread', async () => {
      // Buffers that the guest makes meanwhile it writes itself: they would be sent again anyway.
      await out.pause();
      await into.pause();
      const target = await incoming(2);
      await setSpeed(STEADY, NO_DOWNTIME);
      await web.qmp.execute('migrate', { uri: target.uri });
      await until('most of the memory to be sent', 60_000, async () => {
        const { status, ram } = await progress();
        expect(['setup', 'active']).toContain(status);
        return status === 'active' && (ram?.remaining ?? LAST_PART) < LAST_PART;
      });
      await setSpeed(CRAWL, NO_DOWNTIME);
      await web.ok('killall -STOP sha256sum');
      const before = (await site.daemon.vm('web')).input.bytes;
      await into.resume();
      await into.stands();
      expect((await site.daemon.vm('web')).input.bytes - before).toBeGreaterThan(UNREAD);
      await setSpeed(FAST);
      await completed();
      await target.vm.ok('killall -CONT sha256sum');
      out.moved(target.vm);
      await out.resume();
      await moved(target.vm);
    });

    phase('the LAN hears at once where the guest is, though it sent nothing', async () => {
      // Its neighbour table takes up what is announced.
      onLan('echo 1 >/proc/sys/net/ipv4/conf/eth0/arp_accept');
      await until('the adapter to be open', 60_000, async () => {
        return (await site.daemon.status()).adapters[ADAPTER]?.state === 'open';
      });
      const address = site.addressOf('web');
      onLan(`ip neigh flush to ${address}`);
      await migrate(1);
      const announced = () => onLan(`ip neigh show to ${address}`).includes('lladdr');
      await until('an announcement', 10_000, announced);
    });

    phase('back again, and every byte of both connections has arrived', async () => {
      if (lan === undefined) await migrate(1);
      for (const stream of [out, into]) {
        const { pieces, sent, received } = await stream.end();
        expect(pieces).toBeGreaterThan(16);
        expect(received).toBe(sent);
      }
      for (const vm of [web, site.vm('db')]) {
        expect(await vm.ok('dmesg')).not.toMatch(/is not a head|BUG:|Oops|hw csum|NETDEV WATCHDOG/);
      }
      expect(site.vm('db').agent.boots).toBe(1);
      // It came up once only, in the QEMU of the beginning.
      expect(web.agent.boots).toBe(0);
    });

    /** Moves the guest to a new QEMU on one of its sockets; the one before ends. */
    async function migrate(socket: number): Promise<void> {
      const target = await incoming(socket);
      await setSpeed(FAST);
      await bothFlow();
      await web.qmp.execute('migrate', { uri: target.uri });
      await completed();
      out.moved(target.vm);
      await moved(target.vm);
    }

    async function completed(): Promise<void> {
      await until('the migration to complete', 150_000, async () => {
        const { status } = await progress();
        expect(status).not.toBe('failed');
        return status === 'completed';
      });
    }

    async function moved(to: Vm): Promise<void> {
      const before = web;
      web = to;
      // Both front-ends are connected here: datagrams go where the rings run.
      await bothFlow();
      await before.stop();
      await bothFlow();
      expect(await site.daemon.vm('web')).toMatchObject({ state: 'running' });
    }

    /** A QEMU that waits for the guest. */
    async function incoming(socket: number): Promise<{ vm: Vm; uri: string }> {
      const uri = `unix:${join(folder, `move${++moves}`)}`;
      const vm = new Vm({
        ...site.vm('web').options,
        name: `web${moves}`,
        attachment: [...site.attachment('web', { socket }), '-incoming', uri],
      });
      others.push(vm);
      await vm.launch();
      return { vm, uri };
    }

    async function setSpeed(bandwidth: number, downtime = DOWNTIME): Promise<void> {
      await web.qmp.execute('migrate-set-parameters', {
        'max-bandwidth': bandwidth,
        'downtime-limit': downtime,
      });
    }

    async function progress(): Promise<Migration> {
      return (await web.qmp.execute('query-migrate')) as Migration;
    }

    async function bothFlow(): Promise<void> {
      await Promise.all([out.flows(4), into.flows(4)]);
    }

    function onLan(script: string): string {
      const [command = 'ip', ...rest] = [...(lan?.underHost ?? []), 'sh', '-c', script];
      return execFileSync(command, rest, { encoding: 'utf8' });
    }
  });
}
