/**
 * Least privilege: whoever starts it, the daemon serves guests without any capability, and a management guest can still open, close and
 * open the adapter again, also after its interface was made anew. Needs root, for the real change of user.
 */
import { readdirSync, readFileSync, readlinkSync, statSync } from 'node:fs';
import type { Socket } from 'node:net';
import { afterEach, describe, expect, test } from 'vitest';
import { native } from '../../src/native.ts';
import { BASE_IP, COMMAND, type DaemonOptions } from '../support/daemon.ts';
import { LAN_ECHO_PORT, LAN_INTERFACE, LAN_IP, Lan, NO_LAN } from '../support/lan.ts';
import { type Parsed, parse } from '../support/packets.ts';
import { A, B, THREE_VMS, udpFrame } from '../support/traffic.ts';
import { ended, ready, startProgram } from '../support/running.ts';
import { until } from '../support/until.ts';
import type { Vm } from '../support/vm.ts';
import { World } from '../support/world.ts';

const NOBODY = 65534;
const CONFIG = {
  vms: { ...THREE_VMS, b: { ...THREE_VMS.b, management: true } },
  adapters: { uplink: { interface: LAN_INTERFACE, network: 'lan', controllers: ['b'] } },
};
/** Another user from the start; what follows says which capabilities. */
const AS_NOBODY = ['setpriv', `--reuid=${NOBODY}`, `--regid=${NOBODY}`, '--clear-groups'];
const NET_RAW = ['--inh-caps=+net_raw', '--ambient-caps=+net_raw'];

/** Lines of /proc/PID/task/TID/status of every thread, by name. */
function threads(pid: number, names: string[]): string[][] {
  return readdirSync(`/proc/${pid}/task`).map((task) => {
    const lines = readFileSync(`/proc/${pid}/task/${task}/status`, 'utf8').split('\n');
    return names.map((name) =>
      lines
        .find((line) => line.startsWith(`${name}:`))!
        .split(/\s+/)
        .slice(1)
        .join(' ')
        .trim(),
    );
  });
}

/** No thread is root or has, or can get, a capability. */
function expectNothingLeft(pid: number): void {
  const found = threads(pid, ['Uid', 'Gid', 'Groups', 'CapPrm', 'CapEff', 'CapAmb']);
  expect(found.length).toBeGreaterThan(5);
  const none = '0'.repeat(16);
  for (const [uid, gid, groups, ...capabilities] of found) {
    expect(uid).toBe(Array(4).fill(NOBODY).join(' '));
    expect(gid).toBe(Array(4).fill(NOBODY).join(' '));
    expect(groups === '' || groups === `${NOBODY}`).toBe(true);
    expect(capabilities).toEqual([none, none, none]);
  }
}

describe.skipIf(NO_LAN !== '')(
  `least privilege${NO_LAN && ` (${NO_LAN})`}`,
  { timeout: 90_000 },
  () => {
    let lan: Lan | null = null;
    let world: World | null = null;
    let id = 0;

    afterEach(async () => {
      await world?.close();
      await lan?.close();
      lan = world = null;
    });

    async function start(
      config: Partial<typeof CONFIG> & { user?: string | number; group?: string | number },
      options: DaemonOptions & { as?: string[] } = {},
    ): Promise<{ world: World; a: Vm; b: Vm; lan: Lan }> {
      lan = await Lan.start();
      world = await World.start(
        { ...CONFIG, ...config },
        { owner: NOBODY, ...options, under: [...lan.under, ...(options.as ?? [])] },
      );
      return { world, lan, a: await world.vm('a'), b: await world.vm('b') };
    }

    async function take(vm: Vm, what: string, fits: (frame: Parsed) => boolean): Promise<Parsed> {
      return await until(what, () => {
        vm.pollReceived();
        return vm.received
          .splice(0)
          .map(({ frame }) => parse(frame))
          .find(fits);
      });
    }

    async function ask(vm: Vm, op: string): Promise<Record<string, unknown>> {
      const text = Buffer.from(JSON.stringify({ id: ++id, op, adapter: 'uplink' }));
      await vm.send(udpFrame(B, BASE_IP, text, { ports: [4444, 7356] }));
      const { udp } = await take(vm, 'a reply', ({ udp }) => udp?.sourcePort === 7356);
      return JSON.parse(udp!.payload.toString());
    }

    async function echoes(vm: Vm): Promise<void> {
      const payload = Buffer.from(`echo ${++id}`);
      await vm.send(udpFrame(A, LAN_IP, payload, { ports: [6000, LAN_ECHO_PORT] }));
      await take(vm, 'the echo', ({ udp }) => udp?.payload.equals(payload) ?? false);
    }

    /** Opened, used, closed, opened again, made anew. */
    async function expectAdapterWorks(): Promise<void> {
      const { a, b } = vms!;
      const { daemon } = world!;
      const state = async () => (await daemon.status()).adapters.uplink.state;
      for (let round = 0; round < 2; round++) {
        expect(await ask(b, 'open')).toMatchObject({ ok: true, state: 'open' });
        await echoes(a);
        expect(await ask(b, 'close')).toMatchObject({ ok: true });
        await until('closed', async () => (await state()) === 'closed');
      }
      expect(await ask(b, 'open')).toMatchObject({ ok: true });
      lan!.unplug();
      await until('gone', async () => (await state()) === 'gone');
      lan!.plug();
      await until('open again', async () => (await state()) === 'open');
      await echoes(a);
    }
    let vms: { a: Vm; b: Vm } | null = null;

    test.each([
      ['a name', { user: 'nobody', group: 'nogroup' }],
      ['numbers', { user: NOBODY, group: NOBODY }],
    ])('root with user: %s', async (_, account) => {
      vms = await start(account);
      const { daemon } = world!;
      expectNothingLeft(daemon.pid);
      const { uid, mode } = statSync(daemon.socket('a'));
      expect([uid, mode & 0o777]).toEqual([NOBODY, 0o660]);
      await expectAdapterWorks();
      expectNothingLeft(daemon.pid);
    });

    test('another user with CAP_NET_RAW only', async () => {
      vms = await start({}, { as: [...AS_NOBODY, ...NET_RAW] });
      const { daemon } = world!;
      expectNothingLeft(daemon.pid);
      await expectAdapterWorks();
      expect(daemon.lines.filter((line) => line.includes('CAP_NET_RAW'))).toEqual([]);
    });

    test('another user without any capability: all but the adapter', async () => {
      vms = await start({}, { as: AS_NOBODY });
      expectNothingLeft(world!.daemon.pid);
      const answer = await ask(vms.b, 'open');
      expect(answer).toMatchObject({ ok: false, error: 'unavailable' });
      expect(JSON.stringify(answer)).toMatch(/CAP_NET_RAW/);
      // Nobody should have to wait for the management guest to learn it.
      const { lines } = world!.daemon;
      const before = lines.slice(
        0,
        lines.findIndex((line) => line.includes('"ready"')),
      );
      expect(before.join()).toContain('adapters can’t be opened');
      await vms.a.send(udpFrame(A, B.ip, Buffer.from('inside')));
      await take(vms.b, 'a datagram', ({ udp }) => udp?.payload.toString() === 'inside');
    });

    test('the back-end program form, with an inherited socket', async () => {
      lan = await Lan.start();
      const under = [...lan.under, ...AS_NOBODY, ...NET_RAW, process.execPath];
      // Node's own "pipe" for a child is a pair of Unix stream sockets.
      const daemon = startProgram([...under, COMMAND, '--fd=3', `--interface=${LAN_INTERFACE}`], {
        stdio: ['ignore', 'pipe', 'pipe', 'pipe'],
      });
      await ready(daemon);
      const { child } = daemon;
      expectNothingLeft(child.pid!);
      const sockets = readdirSync(`/proc/${child.pid}/fd`).filter((fd) => {
        const inode = /^socket:\[(\d+)\]$/.exec(readlinkSync(`/proc/${child.pid}/fd/${fd}`))?.[1];
        const packets = readFileSync(`/proc/${child.pid}/net/packet`, 'latin1').split('\n');
        return packets.some((line) => line.trim().split(/\s+/).at(-1) === inode);
      });
      expect(sockets, 'packet sockets made before').toHaveLength(2);
      (child.stdio[3] as Socket).destroy();
      expect(await ended(daemon)).toEqual({ code: 0, signal: null });
      expect(daemon.stdout()).toContain('the front-end ended');
      expect(daemon.stdout()).not.toContain('CAP_NET_RAW');
    });

    test('only root can become another user', async () => {
      await expect(start({ user: 'daemon' }, { as: AS_NOBODY })).rejects.toThrow(
        /only root can become user daemon/,
      );
    });

    test('a kept socket that was closed receives nothing and holds no memory', () => {
      const row = (fd: number) => {
        const inode = statSync(`/proc/self/fd/${fd}`).ino;
        return readFileSync('/proc/net/packet', 'latin1')
          .split('\n')
          .map((line) => line.trim().split(/\s+/))
          .find((fields) => fields.at(-1) === `${inode}`)!;
      };
      const PROTOCOL = 3;
      const kept = native.packetSocket();
      expect(row(kept)[PROTOCOL]).toBe('0000');
      for (let round = 0; round < 2; round++) {
        const opened = native.packetOpen({
          interfaceIndex: 1,
          blockBytes: 1 << 18,
          blocks: 4,
          retireMilliseconds: 1,
          frameBytes: 69_632,
          frames: 8,
          unicast: null,
          socket: kept,
        });
        const handle = native.mapPacketRings(opened.fd, opened.mapBytes);
        expect(row(kept)[PROTOCOL]).toBe('0003');
        native.unmapRegion(handle);
        native.packetClose(opened.fd, 1, null);
        expect(row(kept)[PROTOCOL]).toBe('88b5');
        // The rings are gone: nothing can be mapped.
        expect(() => native.mapPacketRings(kept, opened.mapBytes)).toThrow(/EINVAL/);
        // The same for a doorbell.
        const doorbell = native.packetDoorbell(1, null, kept);
        expect(row(kept)[PROTOCOL]).toBe('0003');
        native.unmapRegion(native.mapPacketRings(doorbell.fd, doorbell.mapBytes));
        native.packetClose(doorbell.fd, 1, null);
        expect(row(kept)[PROTOCOL]).toBe('88b5');
        expect(() => native.mapPacketRings(kept, doorbell.mapBytes)).toThrow(/EINVAL/);
      }
      native.closeDescriptor(kept);
    });
  },
);
