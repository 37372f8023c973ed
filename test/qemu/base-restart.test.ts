// The base dies under load and comes back, again and again, and is replaced by a new one: four
// guests (two whose QEMU connects to the base, two whose QEMU listens) go on where they were. TCP
// connections run across all of it and every byte arrives.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, onTestFailed, test } from 'vitest';
import { newerQemu, type Qemu, systemQemu } from '../../qemu/qemu.ts';
import { Site } from '../../qemu/site.ts';
import { Stream } from '../../qemu/stream.ts';
import { sleep, until } from '../../qemu/wait.ts';
import { balanced } from './books.ts';
import { LONG } from '../support/random.ts';
import { type Need, suite } from './suite.ts';

const KILLS = LONG ? 20 : 3;
const UPGRADES = 3;
/** The longest that the base lives between two kills, in milliseconds. */
const LONGEST_LIFE = 1500;
const NAMES = ['web', 'db', 'listener', 'cache'];

restarts('restarts of the base under load', ['guests'], systemQemu());
if (LONG) restarts('restarts of the base, newer QEMU', ['guests', 'newerQemu'], newerQemu());

function restarts(title: string, needs: Need[], qemu: Qemu | undefined): void {
  suite(title, needs, (can) => {
    let site: Site;
    let folder: string;
    let streams: Stream[] = [];

    beforeAll(async () => {
      if (!can || !qemu) return;
      folder = mkdtempSync(join(tmpdir(), 'basewire-sockets-'));
      const client = (name: string) => ({
        socket: { path: join(folder, `${name}.sock`), mode: 'client' },
      });
      site = await Site.start({
        qemu,
        guests: {
          web: { number: 11 },
          db: { number: 12 },
          listener: { number: 13, vm: client('listener') },
          cache: { number: 14, vm: client('cache') },
        },
      });
      await site.boot();
    }, 400_000);

    afterAll(async () => {
      await site?.stop();
      if (folder) rmSync(folder, { recursive: true, force: true });
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

    phase(`kill -9 at ${KILLS} random instants`, 120_000 + KILLS * 20_000, async () => {
      const before = await look();
      await beginStreams();
      for (let kill = 0; kill < KILLS; kill++) {
        const life = Math.floor(Math.random() * LONGEST_LIFE);
        await sleep(life);
        await site.daemon.die();
        await site.daemon.restart();
      }
      await flowAgain();
      await endStreams();
      expect(await look()).toEqual(before);
    });

    phase(`${UPGRADES} times SIGTERM, then a new base`, 240_000, async () => {
      const before = await look();
      await beginStreams();
      const times: number[] = [];
      for (let upgrade = 0; upgrade < UPGRADES; upgrade++) {
        await running();
        const from = performance.now();
        process.kill(site.daemon.pid, 'SIGTERM');
        await until('the base to end', 20_000, () => !site.daemon.running, 5);
        times.push(performance.now() - from);
        expect(site.daemon.exit).toEqual({ code: 0, signal: null });
        await site.daemon.restart();
      }
      // The best of them: the machine may be busy with something else.
      expect(Math.min(...times)).toBeLessThan(2000);
      await flowAgain();
      await endStreams();
      expect(await look()).toEqual(before);
    });

    phase('the guests noticed nothing but a link that went down and came up', 60_000, async () => {
      for (const name of NAMES) {
        expect(site.vm(name).agent.boots).toBe(1);
        const log = await site.vm(name).ok('dmesg');
        expect(log).not.toMatch(/is not a head|BUG:|Oops|hw csum|NETDEV WATCHDOG|rcu.*stall/);
      }
    });

    /** From each way of connecting to the other, and back. */
    async function beginStreams(): Promise<void> {
      streams = [
        await Stream.begin(site.vm('web'), 'listener'),
        await Stream.begin(site.vm('cache'), 'db'),
      ];
      for (const stream of streams) await stream.flows();
    }

    async function endStreams(): Promise<void> {
      for (const stream of streams) {
        const { pieces, sent, received } = await stream.end();
        expect(pieces).toBeGreaterThan(8);
        expect(received).toBe(sent);
      }
    }

    async function running(): Promise<void> {
      for (const name of NAMES) await site.daemon.untilState(name, 'running', 20_000);
    }

    /** All ports run, every guest reaches every other, and the streams go on. */
    async function flowAgain(): Promise<void> {
      await running();
      for (const [index, name] of NAMES.entries()) {
        const to = NAMES[(index + 1) % NAMES.length];
        await site.vm(name).ok(`ping -c 1 -W 10 ${to}`);
      }
      for (const stream of streams) await stream.flows();
    }

    /** What must be the same after a restart. */
    async function look(): Promise<unknown> {
      const { vms } = await site.daemon.status();
      return Object.entries(vms).map(([name, { state, features }]) => ({ name, state, features }));
    }
  });
}
