// The base dies under load and comes back, again and again, and is replaced by a new one: four
// guests (two whose QEMU connects to the base, two whose QEMU listens) go on where they were. TCP
// connections run across all of it and every byte arrives; how long a port takes from its
// reconnection to its first datagrams is measured.

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

const KILLS = LONG ? 20 : 3;
const UPGRADES = 3;
/** The longest that the base lives between two kills, in milliseconds. */
const LONGEST_LIFE = 1500;
/** Milliseconds from a port's reconnection until its rings run; asked of the long form. */
const LONGEST_START = 1000;
/**
 * Until datagrams flow both ways: it is the guest that begins, and its kernel asks for the base's
 * MAC at most once a second after the link went down.
 */
const LONGEST_SILENCE = 3000;
const NAMES = ['web', 'db', 'listener', 'cache'];

restarts('restarts of the base under load', ['guests'], systemQemu());
if (LONG) restarts('restarts of the base, newer QEMU', ['guests', 'newerQemu'], newerQemu());

function restarts(title: string, needs: Need[], qemu: Qemu | undefined): void {
  suite(title, needs, (can) => {
    let site: Site;
    let folder: string;
    let streams: Stream[] = [];
    /** Milliseconds from each reconnection until the rings ran, and until datagrams flowed. */
    const starts: number[] = [];
    const returns: number[] = [];

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
        if (kill % 2 === 1) await forwardAgain();
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
        process.kill(site.daemon.pid, 'SIGTERM');
        await until('the base to end', 20_000, () => !site.daemon.running, 5);
        times.push(performance.now() - from);
        expect(site.daemon.exit).toEqual({ code: 0, signal: null });
        await site.daemon.restart();
        await forwardAgain();
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

    phase('a port forwards soon after its reconnection', 10_000, async () => {
      // For each port and measured restart.
      expect(starts).toHaveLength(NAMES.length * (Math.floor(KILLS / 2) + UPGRADES));
      expect(returns).toHaveLength(starts.length);
      const [start, silence] = [Math.max(...starts), Math.max(...returns)];
      const median = [...returns].sort((a, b) => a - b)[returns.length >> 1];
      const text = `rings run after ${start} ms at most, datagrams flow after ${silence} ms at most`;
      console.log(`${title}: ${text} (median ${median} ms)`);
      if (!LONG) return;
      expect(start).toBeLessThan(LONGEST_START);
      expect(median).toBeLessThan(LONGEST_START);
      expect(silence).toBeLessThan(LONGEST_SILENCE);
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
          .ok('ping -q -i 0.1 base </dev/null >/dev/null 2>&1 & echo $! >/run/ping');
      }
    }

    async function endStreams(): Promise<void> {
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

    /** Every guest asks the base ten times a second: measures how soon each port's answers flow. */
    async function forwardAgain(): Promise<void> {
      const runs = new Map<string, number>();
      const flows = new Map<string, number>();
      const look = async (): Promise<boolean> => {
        const { vms } = await site.daemon.status();
        const now = Date.now();
        for (const name of NAMES) {
          const { state, output, input } = vms[name]!;
          if (state === 'running' && !runs.has(name)) runs.set(name, now);
          const both = output.datagrams > 0 && input.datagrams > 0;
          if (both && !flows.has(name)) flows.set(name, now);
        }
        return flows.size === NAMES.length;
      };
      await until('all ports to forward', 20_000, look, 10);
      for (const [name, time] of runs) starts.push(time - connected(name));
      for (const [name, time] of flows) returns.push(time - connected(name));
    }

    /** When the base logged a guest's connection, in milliseconds since 1970. */
    function connected(name: string): number {
      const entries = site.daemon.lines.map((line) => JSON.parse(line) as Record<string, string>);
      const entry = entries.findLast(({ msg, vm }) => vm === name && msg === 'front-end connected');
      expect(entry, `${name} to have connected`).toBeDefined();
      return Date.parse(entry?.time ?? '');
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
      const ports = Object.entries(vms).map(([name, { state, features }]) => {
        return { name, state, features };
      });
      const offered = await Promise.all(NAMES.map((name) => deviceFeatures(site.vm(name))));
      return { ports, offered };
    }
  });
}
