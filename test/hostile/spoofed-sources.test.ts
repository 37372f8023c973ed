/** Ranked case 29: datagrams and ARP in somebody else's name. */
import { describe, expect, test } from 'vitest';
import type { DropReason } from '../../src/counters.ts';
import { BASE_IP, BASE_MAC } from '../support/daemon.ts';
import { useFixture } from '../support/fixture.ts';
import { BOTH_FORMATS, FORMATS } from '../support/formats.ts';
import { type ArpFields, arp, BROADCAST, ETHERTYPE, ethernet, parse } from '../support/packets.ts';
import { A, B, C, echoFrame, udpFrame } from '../support/traffic.ts';
import { expectDropped } from './attack.ts';

const text = Buffer.from('spoofed');
const from = (ip: string) => udpFrame({ mac: A.mac, ip }, B.ip, text);
const arpFrame = (fields: Partial<ArpFields>, source = A.mac) =>
  ethernet(
    { source, destination: BROADCAST, type: ETHERTYPE.arp },
    arp({ operation: 1, senderMac: A.mac, senderIp: A.ip, targetIp: BASE_IP, ...fields }),
  );

const FRAMES: [string, DropReason, Buffer][] = [
  ["another VM's address", 'spoofed', from(C.ip)],
  ["the receiver's own address", 'spoofed', from(B.ip)],
  ["the base's address", 'spoofed', from(BASE_IP)],
  ['an address of the subnet that nobody has', 'spoofed', from('10.77.0.99')],
  ['an address from elsewhere', 'spoofed', from('192.0.2.7')],
  ['127.0.0.1', 'spoofed', from('127.0.0.1')],
  ['0.0.0.0', 'spoofed', from('0.0.0.0')],
  ['a multicast source', 'spoofed', from('224.0.0.1')],
  ['a link-local source', 'spoofed', from('169.254.1.1')],
  ['240.0.0.1', 'spoofed', from('240.0.0.1')],
  ['255.255.255.255', 'spoofed', from('255.255.255.255')],
  ['another MAC', 'spoofed', udpFrame({ mac: B.mac, ip: A.ip }, B.ip, text)],
  ["the base's MAC", 'spoofed', udpFrame({ mac: BASE_MAC, ip: A.ip }, B.ip, text)],
  ['a group MAC', 'spoofed', udpFrame({ mac: '01:00:5e:00:00:01', ip: A.ip }, B.ip, text)],
  ['to 127.0.0.1', 'martian', udpFrame(A, '127.0.0.1', text)],
  ['to 0.0.0.0', 'martian', udpFrame(A, '0.0.0.0', text)],
  ['to 240.0.0.1', 'martian', udpFrame(A, '240.0.0.1', text)],
  ['ARP: another sender address', 'spoofed', arpFrame({ senderIp: B.ip })],
  ['ARP: another sender MAC', 'spoofed', arpFrame({ senderMac: B.mac })],
  ['ARP: another Ethernet source', 'spoofed', arpFrame({}, B.mac)],
  [
    "ARP: announces the base's address",
    'spoofed',
    arpFrame({ senderIp: BASE_IP, targetIp: BASE_IP }),
  ],
  [
    "ARP: answers for the base's address",
    'spoofed',
    arpFrame({ operation: 2, senderIp: BASE_IP, targetIp: B.ip }),
  ],
  ['ARP: hardware type 6', 'arpInvalid', arpFrame({ hardwareType: 6 })],
  ['ARP: for IPv6', 'arpInvalid', arpFrame({ protocolType: 0x86dd })],
  [
    'ARP: address lengths 255 and 255',
    'arpInvalid',
    arpFrame({ hardwareLength: 255, protocolLength: 255 }),
  ],
  ['ARP: cut off', 'arpInvalid', arpFrame({}).subarray(0, 14 + 20)],
  ['ARP: operation 9', 'arpInvalid', arpFrame({ operation: 9 as 1 })],
];

const fixture = useFixture(BOTH_FORMATS);

describe.each(FORMATS)("in somebody else's name: $format", ({ packed }) => {
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

  test("nobody's ARP view changes: b still reaches c and the base", async () => {
    const a = await fixture().attacker({ packed });
    for (const [, , frame] of FRAMES) await a.send(frame);
    await a.untilSent();
    await fixture().b.send(echoFrame(B, BASE_IP, 3));
    const { frame } = await fixture().flow.other(fixture().b);
    expect(parse(frame)).toMatchObject({ source: BASE_MAC, icmp: { type: 0 } });
  });

  test('a datagram to its own sender goes nowhere', async () => {
    const a = await fixture().attacker({ packed });
    await expectDropped(fixture(), a, {
      name: 'to itself',
      reason: 'martian',
      tell: () => a.trySend(udpFrame(A, A.ip, Buffer.from('to myself')), { publish: false }),
    });
    await a.send(echoFrame(A, BASE_IP, 9));
    expect(parse((await a.receive()).frame).icmp?.type).toBe(0);
    expect(a.received).toEqual([]);
  });
});
