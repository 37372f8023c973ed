/**
 * A host that is a router itself: its kernel sees what the LAN sends to the VMs behind the adapter, and meddles. Said where it is so, and gone
 * with a MAC address of the adapter's own. At the LAN's end a real host's IP stack.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { afterEach, describe, expect, test } from 'vitest';
import { BASE_IP, COMMAND } from '../support/daemon.ts';
import { LAN_INTERFACE, LAN_IP, Lan, NO_LAN } from '../support/lan.ts';
import { parse } from '../support/packets.ts';
import { A, B, THREE_VMS, udpFrame } from '../support/traffic.ts';
import { until } from '../support/until.ts';
import { World } from '../support/world.ts';

const HOST = '10.77.0.5';
const OWN_MAC = '02:00:0a:4d:00:77';
const PORT = 6000;
const UNREACHABLE = 3;
const REDIRECT = 5;

describe.skipIf(NO_LAN !== '')(`a host that forwards${NO_LAN && ` (${NO_LAN})`}`, () => {
  let lan: Lan | undefined;
  let world: World | undefined;
  afterEach(async () => {
    await world?.close();
    await lan?.close();
    world = undefined;
    lan = undefined;
  });

  interface Setting {
    mac?: string;
    forwarding?: boolean;
    /** What the host knows of the LAN: an address in its subnet, or the way to the one host there. */
    knows?: 'subnet' | 'sender';
    /** The interface gets this MAC address. */
    ofInterface?: string;
    /** The configuration calls the interface by this alternative name. */
    alternative?: string;
  }

  /** Opens the adapter, lets the LAN send a VM some datagrams, and returns what the LAN's host was told: of a better way, and of none. */
  async function told({
    mac,
    forwarding = true,
    knows = 'subnet',
    ofInterface,
    alternative,
  }: Setting) {
    lan = await Lan.start();
    if (ofInterface !== undefined) lan.setLink('address', ofInterface);
    if (alternative !== undefined)
      lan.ipInside('link', 'property', 'add', 'dev', LAN_INTERFACE, 'altname', alternative);
    world = await World.start(
      {
        vms: { ...THREE_VMS, b: { ...THREE_VMS.b, management: true } },
        adapters: {
          uplink: {
            interface: alternative ?? LAN_INTERFACE,
            network: 'lan',
            controllers: ['b'],
            lease: 100,
            mac,
          },
        },
      },
      { under: lan.under },
    );
    lan.ipInside('addr', 'add', `${HOST}/${knows === 'subnet' ? 24 : 32}`, 'dev', LAN_INTERFACE);
    if (knows === 'sender') lan.ipInside('route', 'add', LAN_IP, 'dev', LAN_INTERFACE);
    const set = `echo ${forwarding ? 1 : 0} >/proc/sys/net/ipv4/conf/${LAN_INTERFACE}/forwarding`;
    execFileSync('ip', ['netns', 'exec', lan.inside, 'sh', '-c', set]);
    const a = await world.vm('a');
    const b = await world.vm('b');
    const { daemon } = world;
    for (const op of ['open', 'close', 'open']) {
      const request = Buffer.from(JSON.stringify({ id: 1, op, adapter: 'uplink' }));
      await b.send(udpFrame(B, BASE_IP, request, { ports: [4444, 7356] }));
      const state = op === 'open' ? 'open' : 'closed';
      await until(state, async () => (await daemon.status()).adapters.uplink.state === state);
    }
    for (let left = 3; left > 0; left--) {
      lan.send(A.ip, PORT, `${left} to go`);
      await until('the datagram', () => {
        a.pollReceived();
        const frames = a.received.splice(0).map(({ frame }) => parse(frame));
        return frames.some(({ udp }) => udp?.payload.toString() === `${left} to go`);
      });
    }
    return { redirects: lan.icmpReceived(REDIRECT), unreachable: lan.icmpReceived(UNREACHABLE) };
  }

  const warnings = () => world!.daemon.lines.filter((line) => line.includes('is a router on'));

  /** What `check` says to the daemon's configuration on its host. */
  function check(): string {
    const command = [...lan!.under, process.execPath, COMMAND, 'check', '--config'];
    const { status, stderr } = spawnSync(
      command[0],
      [...command.slice(1), world!.daemon.configPath],
      {
        encoding: 'utf8',
      },
    );
    expect(status).toBe(0);
    return stderr;
  }

  test('tells senders of a better way, which is said once, and why and what to do', async () => {
    expect((await told({})).redirects).toBeGreaterThan(0);
    expect(check()).toMatch(/warning: adapter uplink: this host is a router on bw0/);
    expect(warnings()).toEqual([
      expect.stringMatching(
        /"level":"?(warn|40)"?.*"adapter":"uplink".*adapters\.uplink\.mac.*net\/ipv4\/conf\/bw0\/forwarding=0/,
      ),
    ]);
  });

  test('tells them that there is none, where it knows none', async () => {
    expect((await told({ knows: 'sender' })).unreachable).toBeGreaterThan(0);
    expect(warnings().length).toBe(1);
  });

  test('says so of an adapter whose own MAC address is the interface’s', async () => {
    expect((await told({ mac: OWN_MAC, ofInterface: OWN_MAC })).redirects).toBeGreaterThan(0);
    expect(warnings().length).toBe(1);
  });

  test('says so of an interface that is called by an alternative name', async () => {
    expect((await told({ alternative: 'to-the-lan' })).redirects).toBeGreaterThan(0);
    expect(check()).toMatch(/this host is a router on bw0/);
    expect(warnings().length).toBe(1);
  });

  const SILENT = { redirects: 0, unreachable: 0 };

  test.each<[string, Setting]>([
    ['it does not forward on that interface', { forwarding: false }],
    ['the adapter has a MAC address of its own', { mac: OWN_MAC }],
  ])('leaves them alone where %s', async (_, setting) => {
    expect(await told(setting)).toEqual(SILENT);
    expect(warnings()).toEqual([]);
    expect(check()).toBe('');
  });
});
