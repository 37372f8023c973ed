/** Ranked case 28: IPv4 headers that contradict themselves; padding and trailers; tags and other protocols. */
import { describe, expect, test } from 'vitest';
import type { DropReason } from '../../src/counters.ts';
import { BASE_MAC } from '../support/daemon.ts';
import { useFixture } from '../support/fixture.ts';
import { BOTH_FORMATS, FORMATS } from '../support/formats.ts';
import { ETHERTYPE, ethernet, type Ipv4Fields, parse } from '../support/packets.ts';
import { A, B, forwarded, ipFrame, udpFrame } from '../support/traffic.ts';
import { expectDropped } from './attack.ts';

const payload = Buffer.alloc(40, 0x41);
const lying = (fields: Partial<Ipv4Fields>) => ipFrame(A, B.ip, 17, payload, fields);
const raw = (type: number, bytes: Buffer) =>
  ethernet({ source: A.mac, destination: BASE_MAC, type }, bytes);
const option = (hex: string) => Buffer.from(hex, 'hex');

const FRAMES: [string, DropReason, Buffer][] = [
  ['version 6 under type 0x0800', 'badIp', lying({ version: 6 })],
  ['version 0', 'badIp', lying({ version: 0 })],
  ['header of 4 words', 'badIp', lying({ headerWords: 4 })],
  ['header of 0 words', 'badIp', lying({ headerWords: 0 })],
  [
    'header of 15 words, longer than the datagram',
    'badIp',
    ipFrame(A, B.ip, 17, Buffer.alloc(8), { headerWords: 15 }),
  ],
  ['total length 0', 'badIp', lying({ totalLength: 0 })],
  ['total length 19', 'badIp', lying({ totalLength: 19 })],
  ['total length one beyond the frame', 'badIp', lying({ totalLength: 61 })],
  ['total length 65535', 'badIp', lying({ totalLength: 65535 })],
  ['a wrong header checksum', 'badIp', lying({ checksum: 0x1234 })],
  ['cut within the IP header', 'badIp', lying({}).subarray(0, 14 + 19)],
  ['loose source route', 'ipOptions', lying({ options: option('8307040a4d000c00') })],
  ['strict source route', 'ipOptions', lying({ options: option('8907040a4d000c00') })],
  [
    'source route behind padding',
    'ipOptions',
    lying({ options: option('0101018307040a4d000c0000') }),
  ],
  [
    'a VLAN tag',
    'vlan',
    raw(ETHERTYPE.vlan, Buffer.concat([Buffer.from([0, 5, 8, 0]), lying({}).subarray(14)])),
  ],
  ['a QinQ tag', 'vlan', raw(0x88a8, Buffer.alloc(60))],
  ['IPv6', 'ipv6', raw(ETHERTYPE.ipv6, Buffer.from(`6000000000083a40${'00'.repeat(40)}`, 'hex'))],
  ['LLDP', 'notIp', raw(0x88cc, Buffer.alloc(50))],
  ['MPLS', 'notIp', raw(0x8847, Buffer.alloc(50))],
  ['an 802.3 length', 'notIp', raw(0x0026, Buffer.alloc(38))],
];

const fixture = useFixture(BOTH_FORMATS);

describe.each(FORMATS)('the IPv4 header lies: $format', ({ packed }) => {
  for (const [name, reason, frame] of FRAMES) {
    test(name, async () => {
      const a = await fixture().attacker({ packed });
      await expectDropped(fixture(), a, {
        name,
        reason,
        tell: () => a.trySend(frame, { publish: false }),
      });
    });
  }

  for (const junk of [6, 18, 1000]) {
    test(`${junk} bytes behind the datagram are cut off`, async () => {
      const a = await fixture().attacker({ packed });
      const frame = udpFrame(A, B.ip, Buffer.from('short'));
      await a.send(Buffer.concat([frame, Buffer.alloc(junk, 0xee)]));
      const got = (await fixture().flow.other(fixture().b)).frame;
      const expected = forwarded(frame, B);
      expect(got.subarray(0, expected.length).equals(expected)).toBe(true);
      // what follows may only be padding to the shortest Ethernet frame, of zeros
      expect(got.subarray(expected.length).every((byte) => byte === 0)).toBe(true);
      expect(got.length).toBeLessThanOrEqual(Math.max(expected.length, 60));
      await fixture().goodPasses(a);
    });
  }

  test('bytes behind a datagram with options are cut off', async () => {
    const a = await fixture().attacker({ packed });
    const frame = udpFrame(A, B.ip, Buffer.from('short'), {
      ip: { options: option('0707040000000000') }, // record route
    });
    await a.send(Buffer.concat([frame, Buffer.alloc(100, 0xee)]));
    const got = (await fixture().flow.other(fixture().b)).frame;
    expect(got.equals(forwarded(frame, B))).toBe(true);
    await fixture().goodPasses(a);
  });

  test('a lie changes nothing for the honest datagrams around it', async () => {
    const a = await fixture().attacker({ packed });
    for (const [, , frame] of FRAMES) {
      await a.send(frame);
      await fixture().goodPasses(a);
    }
  });

  test('protocol 0 and unknown protocols pass, fragments pass', async () => {
    const a = await fixture().attacker({ packed });
    for (const frame of [
      ipFrame(A, B.ip, 0, payload),
      ipFrame(A, B.ip, 255, payload),
      ipFrame(A, B.ip, 17, payload, { flags: 1 }),
      ipFrame(A, B.ip, 17, payload, { flags: 0, fragmentOffset: 5 }),
      ipFrame(A, B.ip, 17, payload, { options: option('07070400000000' + '00') }), // record route
    ]) {
      await a.send(frame);
      const got = (await fixture().flow.other(fixture().b)).frame;
      expect(got.equals(forwarded(frame, B))).toBe(true);
      expect(parse(got).problems).toEqual(parse(frame).problems);
    }
    await fixture().goodPasses(a);
  });
});
