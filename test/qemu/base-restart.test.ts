// The base dies under load and comes back, again and again, and is replaced by a new one: four
// guests (two whose QEMU connects to the base, two whose QEMU listens) go on where they were. TCP
// connections run across all of it and every byte arrives. After every reconnection datagrams flow
// both ways within a second: a port of the test's own, which is never silent, watches for that.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, onTestFailed, test } from 'vitest';
import { newerQemu, type Qemu, systemQemu } from '../../qemu/qemu.ts';
import { Site } from '../../qemu/site.ts';
import { Stream } from '../../qemu/stream.ts';
import { deviceFeatures } from '../../qemu/guest-rings.ts';
import { sleep, until } from '../../qemu/wait.ts';
import { balanced } from './books.ts';
import { LONG } from '../support/random.ts';
import { type Need, suite } from './suite.ts';
import { Witness } from './witness.ts';

const KILLS = LONG ? 20 : 3;
const UPGRADES = 3;
/** The longest that the base lives between two kills, in milliseconds. */
const LONGEST_LIFE = 1500;
/**
 * Milliseconds from a port's reconnection until datagrams flow both ways. The short form, which may
 * run beside anything, asks it of most; the long one of every port after every kill.
 */
const LIMIT = 1000;
const NAMES = ['web', 'db', 'listener', 'cache'];
const NUMBERS: Record<string, number> = { web: 11, db: 12, listener: 13, cache: 14 };
const WITNESS = { number: 15, mac: '52:54:00:00:00:0f', ip: '10.77.0.15' };

restarts('restarts of the base under load', ['guests'], systemQemu());
if (LONG) restarts('restarts of the base, newer QEMU', ['guests', 'newerQemu'], newerQemu());

function restarts(title: string, needs: Need[], qemu: Qemu | undefined): void {
  suite(title, needs, (can) => {
    let site: Site;
    let folder: string;
    let witness: Witness;
    let streams: Stream[] = [];
    /** Milliseconds from each reconnection until the port forwarded out of the guest, and both ways. */
    const outs: number[] = [];
    const boths: number[] = [];
    /** Reconnections after which the base was killed before all that, and within the limit. */
    let cut = 0;
    /** The guests' connections are to a base that was started again. */
    let reconnected = false;

    beforeAll(async () => {
      if (!can || !qemu) return;
      folder = mkdtempSync(join(tmpdir(), 'basewire-sockets-'));
      const client = (name: string) => ({
        socket: { path: join(folder, `${name}.sock`), mode: 'client' },
      });
      site = await Site.start({
        qemu,
        guests: {
          web: { number: NUMBERS.web },
          db: { number: NUMBERS.db },
          listener: { number: NUMBERS.listener, vm: client('listener') },
          cache: { number: NUMBERS.cache, vm: client('cache') },
          witness: { number: WITNESS.number },
        },
      });
      await site.boot(...NAMES);
      const addresses = Object.fromEntries(NAMES.map((name) => [name, site.addressOf(name)]));
      witness = new Witness(site.daemon.socket('witness'), WITNESS, addresses);
    }, 400_000);

    afterAll(async () => {
      await witness?.stop();
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
        await end(() => site.daemon.die());
        await site.daemon.restart();
        // Half of the kills come when all guests are there again, the others at any time.
        if (kill % 2 === 1) await witness.all();
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
        const from = performance.now();
        await end(async () => {
          process.kill(site.daemon.pid, 'SIGTERM');
          await until('the base to end', 20_000, () => !site.daemon.running, 5);
        });
        times.push(performance.now() - from);
        expect(site.daemon.exit).toEqual({ code: 0, signal: null });
        await site.daemon.restart();
        await witness.all();
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

    phase('a port forwards again within a second of its reconnection', 10_000, async () => {
      // At least those that were waited for.
      const waited = Math.floor(KILLS / 2) + UPGRADES + 1;
      expect(boths.length).toBeGreaterThanOrEqual(NAMES.length * waited);
      const [out, both] = [Math.max(...outs), Math.max(...boths)];
      const median = [...boths].sort((a, b) => a - b)[boths.length >> 1];
      const text = `out of the guest after ${out} ms at most, both ways after ${both} ms at most`;
      console.log(
        `${title}: ${text} (median ${median} ms, ${boths.length} reconnections, ${cut} cut short)`,
      );
      expect(median).toBeLessThan(LIMIT);
      if (LONG) expect(both).toBeLessThan(LIMIT);
    });

    /** From each way of connecting to the other, and back. */
    async function beginStreams(): Promise<void> {
      streams = [
        await Stream.begin(site.vm('web'), 'listener'),
        await Stream.begin(site.vm('cache'), 'db'),
      ];
      for (const stream of streams) await stream.flows();
      for (const name of NAMES) {
        await site
          .vm(name)
          .ok('ping -q -i 0.02 witness </dev/null >/dev/null 2>&1 & echo $! >/run/ping');
      }
      await witness.start();
      reconnected = false;
    }

    async function endStreams(): Promise<void> {
      measure(Date.now());
      await witness.stop();
      for (const name of NAMES) await site.vm(name).ok('kill $(cat /run/ping)');
      for (const stream of streams) {
        const { pieces, sent, received } = await stream.end();
        expect(pieces).toBeGreaterThan(8);
        expect(received).toBe(sent);
      }
    }

    async function running(): Promise<void> {
      for (const name of NAMES) await site.daemon.untilState(name, 'running', 20_000);
    }

    /** Ends the base. How soon the ports forwarded in its life is known then. */
    async function end(how: () => Promise<void>): Promise<void> {
      const at = Date.now();
      await how();
      measure(at);
      witness.forget();
      reconnected = true;
    }

    /** Each port that reconnected in the life of the base that ended at that time. */
    function measure(now: number): void {
      if (!reconnected) return;
      for (const name of NAMES) {
        const from = connected(name);
        if (from === undefined) continue;
        const { heard, answered } = witness.seen(name);
        if (answered === undefined && now - from < LIMIT) cut++;
        else {
          outs.push((heard ?? now) - from);
          boths.push((answered ?? now) - from);
        }
      }
    }

    /** When the base that runs, or ran last, logged a guest's connection; milliseconds since 1970. */
    function connected(name: string): number | undefined {
      const entries = site.daemon.lines.map((line) => JSON.parse(line) as Record<string, string>);
      const entry = entries.findLast(({ msg, vm }) => vm === name && msg === 'front-end connected');
      return entry === undefined ? undefined : Date.parse(entry.time);
    }

    /** All ports run, every guest reaches every other, and the streams go on. */
    async function flowAgain(): Promise<void> {
      await running();
      await witness.all();
      for (const [index, name] of NAMES.entries()) {
        const to = NAMES[(index + 1) % NAMES.length];
        await site.vm(name).ok(`ping -c 1 -W 10 ${to}`);
      }
      for (const stream of streams) await stream.flows();
    }

    /** What must be the same after a restart. */
    async function look(): Promise<unknown> {
      const { vms } = await site.daemon.status();
      const ports = NAMES.map((name) => {
        const { state, features } = vms[name]!;
        return { name, state, features };
      });
      const offered = await Promise.all(NAMES.map((name) => deviceFeatures(site.vm(name))));
      return { ports, offered };
    }
  });
}
