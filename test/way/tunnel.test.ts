/**
 * A VM is the end of a tunnel. The host's kernel merges what comes through it (GRO knows IP in IP and GRE, whether the host has such tunnels or not),
 * and a sender on this host leaves it uncut: the VM gets what its peer's stack made.
 */
import { execFileSync } from 'node:child_process';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { BASE_IP } from '../support/daemon.ts';
import { setFeature } from '../support/interface-feature.ts';
import { LAN_INTERFACE, LAN_IP, Lan, NO_LAN } from '../support/lan.ts';
import { pattern } from '../support/offload-frames.ts';
import {
  ethernet,
  ETHERTYPE,
  ipv4,
  type Parsed,
  parse,
  PROTOCOL,
  tcp,
} from '../support/packets.ts';
import { A, B, THREE_VMS, udpFrame } from '../support/traffic.ts';
import { until } from '../support/until.ts';
import type { Vm } from '../support/vm.ts';
import { World } from '../support/world.ts';

const SEND_FRAMES = `
import socket, sys
sender = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
sender.bind(('lan0', 0))
for line in sys.stdin: sender.send(bytes.fromhex(line))
`;

describe.skipIf(NO_LAN !== '')(`through a tunnel to a VM${NO_LAN && ` (${NO_LAN})`}`, () => {
  let lan: Lan;
  let world: World;
  let a: Vm;
  let mac = '';

  beforeAll(async () => {
    lan = await Lan.start();
    world = await World.start(
      {
        vms: { ...THREE_VMS, b: { ...THREE_VMS.b, management: true } },
        adapters: {
          uplink: { interface: LAN_INTERFACE, network: 'lan', controllers: ['b'], lease: 60 },
        },
      },
      { under: lan.under },
    );
    a = await world.vm('a');
    const b = await world.vm('b');
    const open = Buffer.from('{"id":1,"op":"open","adapter":"uplink"}');
    await until('the adapter to be open', async () => {
      await b.send(udpFrame(B, BASE_IP, open, { ports: [4444, 7356] }));
      const { uplink } = (await world.daemon.status()).adapters;
      mac = String(uplink.mac);
      return uplink.state === 'open';
    });
    lan.know(A.ip, mac);
  });
  afterAll(async () => {
    await world?.close();
    await lan?.close();
  });

  const drops = async () => (await world.daemon.status()).adapters.uplink.drops;

  async function take(count: number, fits: (frame: Parsed) => boolean): Promise<Parsed[]> {
    const taken: Parsed[] = [];
    await until(`${count} datagrams`, async () => {
      a.pollReceived();
      taken.push(
        ...a.received
          .splice(0)
          .map(({ frame }) => parse(frame))
          .filter(fits),
      );
      return taken.length >= count;
    }).catch(async (error: Error) => {
      throw new Error(`${error.message}: ${taken.length} came, ${JSON.stringify(await drops())}`);
    });
    return taken;
  }

  test.each([
    ['merged', false],
    ['strung together', true],
  ])('TCP in IP in IP that the kernel has %s', async (_how, asList) => {
    const inside = (...words: string[]) =>
      execFileSync('ip', ['netns', 'exec', lan.inside, ...words]);
    setFeature(LAN_INTERFACE, 'rx-gro', true, lan.inside);
    setFeature(LAN_INTERFACE, 'rx-gro-list', asList, lan.inside);
    setFeature('lan0', 'tx-tcp-segmentation', false, lan.outside);
    const device = `/sys/class/net/${LAN_INTERFACE}`;
    inside(
      'sh',
      '-c',
      `echo 5000000 >${device}/gro_flush_timeout; echo 20 >${device}/napi_defer_hard_irqs`,
    );
    const data = pattern(8 * 1400);
    const inner = { source: '192.168.1.1', destination: '192.168.1.2' };
    const sent = Array.from({ length: 8 }, (_, index) => {
      const payload = data.subarray(index * 1400, index * 1400 + 1400);
      const segment = tcp(
        { ...inner, sourcePort: 1, destinationPort: 2, sequence: 1 + index * 1400 },
        payload,
      );
      const packet = ipv4({ ...inner, protocol: PROTOCOL.tcp, identification: 1 + index }, segment);
      return ipv4(
        { source: LAN_IP, destination: A.ip, protocol: 4, identification: 100 + index },
        packet,
      );
    });
    const frames = sent.map((packet) =>
      ethernet(
        { source: '02:00:00:00:99:99', destination: mac, type: ETHERTYPE.ipv4 },
        packet,
      ).toString('hex'),
    );
    execFileSync('ip', ['netns', 'exec', lan.outside, 'python3', '-c', SEND_FRAMES], {
      input: frames.join('\n'),
    });
    const got = await take(8, ({ ip }) => ip?.protocol === 4);
    expect(got.map(({ ip, problems }) => [ip!.identification, problems, ip!.payload])).toEqual(
      sent.map((packet, index) => [100 + index, [], packet.subarray(20)]),
    );
  });

  test('UDP that a sender on this host leaves uncut in VXLAN', async () => {
    lan.ipOutside(
      'link',
      'add',
      'vx',
      'type',
      'vxlan',
      'id',
      '7',
      'remote',
      A.ip,
      'dstport',
      '4789',
      'dev',
      'lan0',
    );
    lan.ipOutside('addr', 'add', '192.168.50.1/24', 'dev', 'vx');
    lan.ipOutside('link', 'set', 'vx', 'up');
    lan.ipOutside(
      'neigh',
      'replace',
      '192.168.50.2',
      'lladdr',
      '02:00:00:00:50:02',
      'dev',
      'vx',
      'nud',
      'permanent',
    );
    const data = pattern(5000);
    lan.sendCoalesced('192.168.50.2', 9, data, 1000);
    const isOurs = ({ udp }: Parsed) =>
      udp?.destinationPort === 4789 && parse(udp.payload.subarray(8)).udp?.destinationPort === 9;
    const got = await take(5, isOurs);
    expect(got.map(({ problems }) => problems)).toEqual(got.map(() => []));
    const inner = got.map(({ udp }) => parse(udp!.payload.subarray(8)));
    expect(inner.map(({ problems, checksum }) => [problems, checksum])).toEqual(
      inner.map(() => [[], 'good']),
    );
    expect(Buffer.concat(inner.map(({ udp }) => udp!.payload)).equals(data)).toBe(true);
  });
});
