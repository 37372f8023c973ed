/**
 * Ranked cases 28, 29 and 33 from the other side: a host on the LAN sends in the name of the base, of a VM, of nobody; malformed, tagged and foreign
 * frames. Each is dropped under its reason, and no VM sees it.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { DropReason } from '../../src/counters.ts';
import { BASE_IP } from '../support/daemon.ts';
import { useFixture } from '../support/fixture.ts';
import { LAN_IP, NO_LAN, Wire } from '../support/lan.ts';
import {
  arp,
  BROADCAST,
  ETHERTYPE,
  ethernet,
  type Ipv4Fields,
  ipv4,
  PROTOCOL,
  parse,
  udp,
} from '../support/packets.ts';
import { A, B } from '../support/traffic.ts';
import { until } from '../support/until.ts';

const HOST_MAC = '02:00:00:00:99:99';

describe.skipIf(NO_LAN !== '')(`lies from the LAN${NO_LAN && ` (${NO_LAN})`}`, () => {
  const fixture = useFixture();
  let wire: Wire;
  let mac: string;
  beforeAll(async () => {
    mac = (await fixture().daemon.status()).adapters.outside.mac as string;
    wire = await Wire.open(fixture().lan!);
  });
  afterAll(() => wire?.close());

  const frame = (type: number, bytes: Buffer, destination = mac) =>
    ethernet({ source: HOST_MAC, destination, type }, bytes);

  /** A datagram for a, with lies in its IP header. */
  const datagram = (text: string, fields: Partial<Ipv4Fields> = {}) => {
    const { source, destination } = { source: LAN_IP, destination: A.ip, ...fields };
    const ports = { source, destination, sourcePort: 9, destinationPort: 9 };
    const segment = udp(ports, Buffer.from(text));
    return frame(
      ETHERTYPE.ipv4,
      ipv4({ protocol: PROTOCOL.udp, ...fields, source, destination }, segment),
    );
  };
  const claim = (senderIp: string, operation: 1 | 2 = 1) =>
    frame(
      ETHERTYPE.arp,
      arp({ operation, senderMac: HOST_MAC, senderIp, targetIp: senderIp }),
      BROADCAST,
    );
  const tagged = (type: number) =>
    frame(type, Buffer.concat([Buffer.from([0, 5, 8, 0]), datagram('tagged').subarray(14)]));

  const from = (source: string) => datagram('spoofed', { source });
  const FRAMES: [string, DropReason, () => Buffer][] = [
    ["from the receiver's own address", 'spoofed', () => from(A.ip)],
    ["from another VM's address", 'spoofed', () => from(B.ip)],
    ["from the base's address", 'spoofed', () => from(BASE_IP)],
    ['from 127.0.0.1', 'martian', () => from('127.0.0.1')],
    ['from 0.0.0.0', 'martian', () => from('0.0.0.0')],
    ['from a multicast address', 'martian', () => from('224.0.0.1')],
    ['from 240.0.0.1', 'martian', () => from('240.0.0.1')],
    ['from 255.255.255.255', 'martian', () => from('255.255.255.255')],
    ["from the subnet's broadcast address", 'martian', () => from('10.77.0.255')],
    ['version 6', 'badIp', () => datagram('bad', { version: 6 })],
    ['a header of 4 words', 'badIp', () => datagram('bad', { headerWords: 4 })],
    ['a total length beyond the frame', 'badIp', () => datagram('bad', { totalLength: 1400 })],
    ['a wrong header checksum', 'badIp', () => datagram('bad', { checksum: 0x1234 })],
    [
      'a loose source route',
      'ipOptions',
      () => datagram('bad', { options: Buffer.from('8307040a4d000c00', 'hex') }),
    ],
    ['for nobody here', 'notOurs', () => datagram('stray', { destination: '10.77.0.99' })],
    ['a VLAN tag', 'vlan', () => tagged(ETHERTYPE.vlan)],
    ['a QinQ tag', 'vlan', () => tagged(0x88a8)],
    ['IPv6', 'ipv6', () => frame(ETHERTYPE.ipv6, Buffer.alloc(60, 0x60))],
    ['LLDP', 'notIp', () => frame(0x88cc, Buffer.alloc(60))],
    ["ARP: announces a VM's address", 'arpInvalid', () => claim(A.ip)],
    ["ARP: answers for a VM's address", 'arpInvalid', () => claim(B.ip, 2)],
    ["ARP: announces the base's address", 'arpInvalid', () => claim(BASE_IP)],
  ];

  for (const [name, reason, bytes] of FRAMES) {
    test(name, async () => {
      const { daemon } = fixture();
      const a = await fixture().attacker();
      const drops = async () => ({ ...(await daemon.status()).adapters.outside.drops });
      const before = await drops();
      await wire.send(bytes());
      const changed = await until('it to be dropped', async () => {
        const now = await drops();
        // The LAN's own host is no silent one.
        const names = Object.keys(now).filter((key) => now[key] !== before[key]);
        return names.includes(reason) ? { names, now } : null;
      });
      expect(changed.now[reason] - before[reason]).toBe(1);
      // An honest one behind it is the first to arrive.
      await wire.send(datagram('honest'));
      expect(parse((await a.receive()).frame).udp?.payload.toString()).toBe('honest');
      expect(a.received).toEqual([]);
    });
  }
});
