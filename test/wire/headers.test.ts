/**
 * Each protocol against one literal packet: taken apart, put together again in a dirty buffer, and with impossible
 * lengths. The packets were made by a program that shares nothing with src/wire.
 */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import * as arp from '../../src/wire/arp.ts';
import * as ethernet from '../../src/wire/ethernet.ts';
import * as icmp from '../../src/wire/icmp.ts';
import { keyOf } from '../../src/wire/ipv4-address.ts';
import * as ipv4 from '../../src/wire/ipv4.ts';
import { copy, macText, parseMac } from '../../src/wire/mac.ts';
import * as tcp from '../../src/wire/tcp.ts';
import * as udp from '../../src/wire/udp.ts';
import * as virtio from '../../src/wire/virtio-net-header.ts';
import * as packets from '../support/packets.ts';

const hex = (text: string) => Buffer.from(text.replaceAll(/\s/g, ''), 'hex');
const dirty = (length: number) => Buffer.alloc(length, 0xa5);

const UDP = hex('45000021 12344000 401113e8 0a4d000b 0a4d000c 9c401cbc 000dee54 68656c6c 6f');
const TCP = hex(
  '45000037 abcd4000 3f067b43 0a4d000b 0a4d000c c35001bb fedcba98 01234567 801801f6 ffb70000' +
    '0101080a 00000001 00000002 474554',
);
const ICMP = hex('45000023 00010000 40016634 0a4d000b 0a4d0001 080062cc 01020304 61626364 656667');
const OPTIONS = hex('46000018 00072003 09117a1a 0a4d000b 0a4d000c 01010100');
const SOURCE = keyOf('10.77.0.11');
const DESTINATION = keyOf('10.77.0.12');

describe('ethernet', () => {
  const frame = hex('020000000001 525400000011 0806');

  test('deconstruct', () => {
    expect(ethernet.check(frame, 0, 14)).toBe(true);
    expect(ethernet.check(frame, 0, 13)).toBe(false);
    expect(macText(frame, ethernet.DESTINATION)).toBe('02:00:00:00:00:01');
    expect(macText(frame, ethernet.SOURCE)).toBe('52:54:00:00:00:11');
    expect(ethernet.etherType(frame, 0)).toBe(ethernet.TYPE_ARP);
  });

  test('construct', () => {
    const bytes = dirty(14);
    copy(bytes, ethernet.DESTINATION, parseMac('02:00:00:00:00:01'), 0);
    copy(bytes, ethernet.SOURCE, parseMac('52:54:00:00:00:11'), 0);
    ethernet.setEtherType(bytes, 0, ethernet.TYPE_ARP);
    expect(bytes).toEqual(frame);
  });
});

describe('arp', () => {
  const packet = hex('0001 0800 06 04 0001 525400000011 0a4d000b 020000000001 0a4d000c');

  test('deconstruct', () => {
    expect(arp.check(packet, 0, 28)).toBe(true);
    expect(arp.operation(packet, 0)).toBe(arp.REQUEST);
    expect(macText(packet, arp.SENDER_MAC)).toBe('52:54:00:00:00:11');
    expect(arp.senderIp(packet, 0)).toBe(SOURCE);
    expect(macText(packet, arp.TARGET_MAC)).toBe('02:00:00:00:00:01');
    expect(arp.targetIp(packet, 0)).toBe(DESTINATION);
  });

  test('construct', () => {
    const bytes = dirty(28);
    arp.setTypes(bytes, 0);
    arp.setOperation(bytes, 0, arp.REQUEST);
    copy(bytes, arp.SENDER_MAC, parseMac('52:54:00:00:00:11'), 0);
    arp.setSenderIp(bytes, 0, SOURCE);
    copy(bytes, arp.TARGET_MAC, parseMac('02:00:00:00:00:01'), 0);
    arp.setTargetIp(bytes, 0, DESTINATION);
    expect(bytes).toEqual(packet);
  });

  test('cut off, or not IPv4 over Ethernet', () => {
    expect(arp.check(packet, 0, 27)).toBe(false);
    for (let i = 0; i < 6; i++) {
      const lie = Buffer.from(packet);
      lie[i] ^= 0x10;
      expect(arp.check(lie, 0, 28)).toBe(false);
    }
  });
});

/** Both gates of IPv4 on the same bytes; they must agree. */
function checkBoth(bytes: Uint8Array, available: number): boolean {
  const arena = new Uint8Array(Math.max(64, (bytes.length + 11) & -4)).fill(0xa5);
  arena.set(bytes, 4);
  const slow = ipv4.check(arena, 4, available);
  expect(ipv4.checkWords(new Int32Array(arena.buffer), 1, available)).toBe(slow);
  return slow;
}

describe('ipv4', () => {
  test('deconstruct', () => {
    expect(checkBoth(UDP, UDP.length)).toBe(true);
    expect(ipv4.version(UDP, 0)).toBe(4);
    expect(ipv4.headerLength(UDP, 0)).toBe(20);
    expect(ipv4.typeOfService(UDP, 0)).toBe(0);
    expect(ipv4.totalLength(UDP, 0)).toBe(33);
    expect(ipv4.identification(UDP, 0)).toBe(0x1234);
    expect(ipv4.fragment(UDP, 0)).toBe(ipv4.DONT_FRAGMENT);
    expect(ipv4.isFragment(UDP, 0)).toBe(false);
    expect(ipv4.timeToLive(UDP, 0)).toBe(64);
    expect(ipv4.protocol(UDP, 0)).toBe(ipv4.PROTOCOL_UDP);
    expect(ipv4.source(UDP, 0)).toBe(SOURCE);
    expect(ipv4.destination(UDP, 0)).toBe(DESTINATION);
  });

  test('construct', () => {
    const bytes = dirty(20);
    ipv4.setHeaderLength(bytes, 0, 20);
    ipv4.setTypeOfService(bytes, 0, 0);
    ipv4.setTotalLength(bytes, 0, 33);
    ipv4.setIdentification(bytes, 0, 0x1234);
    ipv4.setFragment(bytes, 0, ipv4.DONT_FRAGMENT);
    ipv4.setTimeToLive(bytes, 0, 64);
    ipv4.setProtocol(bytes, 0, ipv4.PROTOCOL_UDP);
    ipv4.setSource(bytes, 0, SOURCE);
    ipv4.setDestination(bytes, 0, DESTINATION);
    ipv4.writeChecksum(bytes, 0);
    expect(bytes).toEqual(UDP.subarray(0, 20));
  });

  test('writeHeader', () => {
    const bytes = dirty(28);
    ipv4.writeHeader(bytes, 4, 0xc0, 24, ipv4.PROTOCOL_ICMP, SOURCE, DESTINATION);
    expect(bytes.subarray(4, 24)).toEqual(
      packets
        .ipv4(
          { source: '10.77.0.11', destination: '10.77.0.12', protocol: 1, tos: 0xc0, flags: 2 },
          new Uint8Array(4),
        )
        .subarray(0, 20),
    );
    expect(bytes.subarray(0, 4)).toEqual(dirty(4));
    expect(bytes.subarray(24)).toEqual(dirty(4));
  });

  test('options and fragments', () => {
    expect(checkBoth(OPTIONS, OPTIONS.length)).toBe(true);
    expect(ipv4.headerLength(OPTIONS, 0)).toBe(24);
    expect(ipv4.isFragment(OPTIONS, 0)).toBe(true);
    expect(ipv4.fragment(OPTIONS, 0) & ipv4.FRAGMENT_OFFSET).toBe(3);
    const first = Buffer.from(UDP);
    ipv4.setFragment(first, 0, ipv4.MORE_FRAGMENTS);
    expect(ipv4.isFragment(first, 0)).toBe(true);
  });

  test('padding behind the datagram is none of it', () => {
    expect(checkBoth(UDP, 46)).toBe(true);
  });

  test('cut off anywhere', () => {
    for (let length = 0; length < UDP.length; length++) expect(checkBoth(UDP, length)).toBe(false);
  });

  test('any bit of the header changed', () => {
    for (const packet of [UDP, OPTIONS]) {
      const header = ipv4.headerLength(packet, 0);
      for (let bit = 0; bit < header * 8; bit++) {
        const lie = Buffer.from(packet);
        lie[bit >> 3] ^= 1 << (bit & 7);
        expect(checkBoth(lie, lie.length)).toBe(false);
      }
    }
  });

  test('lengths that contradict each other, header checksum right', () => {
    const build = (fields: Partial<packets.Ipv4Fields>, options = 0, payload = 13) =>
      packets.ipv4(
        {
          source: '10.77.0.11',
          destination: '10.77.0.12',
          protocol: 17,
          options: Buffer.alloc(options, 1),
          ...fields,
        },
        Buffer.alloc(payload),
      );
    const lies = [
      build({ version: 6 }),
      build({ version: 5 }),
      build({ headerWords: 4 }),
      build({ headerWords: 0 }),
      build({ totalLength: 19 }),
      build({ totalLength: 0 }),
      build({ totalLength: 23 }, 4),
      build({ totalLength: 34 }),
      build({ totalLength: 65535 }),
      build({ headerWords: 15 }, 0, 0),
    ];
    for (const lie of lies) expect(checkBoth(lie, lie.length)).toBe(false);
    expect(checkBoth(build({}), 33)).toBe(true);
    expect(checkBoth(build({}, 40, 0), 60)).toBe(true);
  });

  test('both gates agree on anything', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 80 }), fc.nat(80), fc.boolean(), (bytes, n, mend) => {
        if (bytes.length > 0 && mend) bytes[0] = 0x40 | (bytes[0] & 15);
        if (bytes.length > 20 && mend) {
          ipv4.setTotalLength(bytes, 0, bytes.length);
          if (ipv4.headerLength(bytes, 0) <= bytes.length) ipv4.writeChecksum(bytes, 0);
        }
        checkBoth(bytes, Math.min(n, bytes.length));
      }),
      { numRuns: 1000 },
    );
  });

  test('decrementTimeToLive keeps the checksum right, all the way down', () => {
    fc.assert(
      fc.property(fc.nat(0xffff), fc.nat(0xffff), (identification, tos) => {
        const bytes = packets.ipv4(
          {
            source: '10.0.0.1',
            destination: '10.9.8.7',
            protocol: 6,
            ttl: 255,
            identification,
            tos,
          },
          new Uint8Array(0),
        );
        for (let ttl = 254; ttl >= 0; ttl--) {
          ipv4.decrementTimeToLive(bytes, 0);
          if (ipv4.timeToLive(bytes, 0) !== ttl || packets.sum16(bytes) !== 0xffff) {
            expect.fail(`time to live ${ttl}`);
          }
        }
      }),
    );
  });

  test('decrementTimeToLive writes the very checksum that computing would', () => {
    const bytes = new Uint8Array(20);
    ipv4.writeHeader(bytes, 0, 0, 20, 6, SOURCE, DESTINATION);
    for (let identification = 0; identification < 65536; identification++) {
      ipv4.setTimeToLive(bytes, 0, 64);
      ipv4.setIdentification(bytes, 0, identification);
      ipv4.writeChecksum(bytes, 0);
      ipv4.decrementTimeToLive(bytes, 0);
      const updated = (bytes[10] << 8) | bytes[11];
      ipv4.writeChecksum(bytes, 0);
      if (updated !== ((bytes[10] << 8) | bytes[11])) expect.fail(`${identification}`);
    }
  });

  describe('sourceRouted', () => {
    const build = (options: number[]) =>
      packets.ipv4(
        {
          source: '10.0.0.1',
          destination: '10.9.8.7',
          protocol: 6,
          options: Uint8Array.from(options),
        },
        Buffer.of(131, 3, 4, 0),
      );
    test.each([
      ['none', [], false],
      ['no operation', [1, 1, 1, 1], false],
      ['end, with rubbish behind', [1, 0, 131, 3], false],
      ['record route', [7, 7, 4, 0, 0, 0, 0, 0], false],
      ['router alert', [148, 4, 0, 0], false],
      ['loose', [131, 7, 4, 1, 2, 3, 4, 0], true],
      ['strict', [137, 7, 4, 1, 2, 3, 4, 0], true],
      ['behind others', [1, 148, 4, 0, 0, 131, 3, 4], true],
      ['last byte of the header', [1, 1, 1, 137], true],
      ['option without its length', [1, 1, 1, 7], true],
      ['length 0', [7, 0, 0, 0], true],
      ['length 1', [7, 1, 0, 0], true],
      ['length past the header', [7, 5, 0, 0], true],
      ['length to the header’s end', [7, 4, 0, 0], false],
    ])('%s: %j', (_name, options, expected) => {
      expect(ipv4.sourceRouted(build(options), 0)).toBe(expected);
    });

    test('ends on anything', () => {
      fc.assert(
        fc.property(fc.array(fc.nat(255), { minLength: 40, maxLength: 40 }), (options) => {
          expect(typeof ipv4.sourceRouted(build(options), 0)).toBe('boolean');
        }),
      );
    });
  });
});

describe('udp', () => {
  test('deconstruct', () => {
    expect(udp.check(UDP, 20, 13)).toBe(true);
    expect(udp.sourcePort(UDP, 20)).toBe(40000);
    expect(udp.destinationPort(UDP, 20)).toBe(7356);
    expect(udp.length(UDP, 20)).toBe(13);
    expect(udp.checksumOk(UDP, 20, SOURCE, DESTINATION)).toBe(true);
  });

  test('construct', () => {
    const bytes = dirty(13);
    udp.setSourcePort(bytes, 0, 40000);
    udp.setDestinationPort(bytes, 0, 7356);
    udp.setLength(bytes, 0, 13);
    bytes.write('hello', 8);
    udp.writeChecksum(bytes, 0, SOURCE, DESTINATION);
    expect(bytes).toEqual(UDP.subarray(20));
  });

  test('impossible lengths', () => {
    for (let length = 0; length < 13; length++) expect(udp.check(UDP, 20, length)).toBe(false);
    const lie = Buffer.from(UDP);
    udp.setLength(lie, 20, 7);
    expect(udp.check(lie, 20, 13)).toBe(false);
  });

  test('checksum: wrong, absent, and the 0 that must not be sent', () => {
    const lie = Buffer.from(UDP);
    lie[30] ^= 1;
    expect(udp.checksumOk(lie, 20, SOURCE, DESTINATION)).toBe(false);
    lie[26] = 0;
    lie[27] = 0;
    expect(udp.checksumOk(lie, 20, SOURCE, DESTINATION)).toBe(true);
    // Payload that makes the sum 0xffff, so the checksum 0.
    const zero = Buffer.from(UDP.subarray(20, 30));
    udp.setLength(zero, 0, 10);
    zero.fill(0, 8);
    udp.writeChecksum(zero, 0, SOURCE, DESTINATION);
    zero[8] = zero[6];
    zero[9] = zero[7];
    udp.writeChecksum(zero, 0, SOURCE, DESTINATION);
    expect(zero.readUInt16BE(6)).toBe(0xffff);
    expect(udp.checksumOk(zero, 0, SOURCE, DESTINATION)).toBe(true);
  });
});

describe('tcp', () => {
  test('deconstruct', () => {
    expect(tcp.check(TCP, 20, 35)).toBe(true);
    expect(tcp.sourcePort(TCP, 20)).toBe(50000);
    expect(tcp.destinationPort(TCP, 20)).toBe(443);
    expect(tcp.sequence(TCP, 20)).toBe(0xfedcba98);
    expect(tcp.headerLength(TCP, 20)).toBe(32);
    expect(tcp.flags(TCP, 20)).toBe(tcp.PSH | tcp.ACK);
  });

  test('construct', () => {
    const bytes = dirty(14);
    tcp.setSourcePort(bytes, 0, 50000);
    tcp.setDestinationPort(bytes, 0, 443);
    tcp.setSequence(bytes, 0, 0x1fedcba98);
    TCP.copy(bytes, 8, 28, 32);
    tcp.setHeaderLength(bytes, 0, 32);
    tcp.setFlags(bytes, 0, tcp.PSH | tcp.ACK);
    expect(bytes).toEqual(TCP.subarray(20, 34));
  });

  test('impossible lengths', () => {
    for (let length = 0; length < 32; length++) expect(tcp.check(TCP, 20, length)).toBe(false);
    expect(tcp.check(TCP, 20, 32)).toBe(true);
    const lie = Buffer.from(TCP);
    tcp.setHeaderLength(lie, 20, 16);
    expect(tcp.check(lie, 20, 35)).toBe(false);
    tcp.setHeaderLength(lie, 20, 36);
    expect(tcp.check(lie, 20, 35)).toBe(false);
  });
});

describe('icmp', () => {
  test('deconstruct', () => {
    expect(icmp.check(ICMP, 20, 15)).toBe(true);
    expect(icmp.check(ICMP, 20, 7)).toBe(false);
    expect(icmp.type(ICMP, 20)).toBe(icmp.ECHO_REQUEST);
    expect(icmp.code(ICMP, 20)).toBe(0);
    expect(icmp.rest(ICMP, 20)).toBe(0x01020304);
  });

  test('construct', () => {
    const bytes = dirty(15);
    icmp.setType(bytes, 0, icmp.ECHO_REQUEST);
    icmp.setCode(bytes, 0, 0);
    icmp.setRest(bytes, 0, 0x01020304);
    bytes.write('abcdefg', 8);
    icmp.writeChecksum(bytes, 0, 15);
    expect(bytes).toEqual(ICMP.subarray(20));
  });

  test('queries, errors and the unknown', () => {
    const queries = Array.from({ length: 256 }, (_, type) => type).filter(icmp.isQuery);
    expect(queries).toEqual([0, 8, 13, 14, 15, 16, 17, 18]);
  });
});

describe('virtio-net header', () => {
  const header = hex('01 81 3600 b405 2200 1000 0200');

  test('deconstruct', () => {
    expect(virtio.flags(header, 0)).toBe(virtio.NEEDS_CSUM);
    expect(virtio.gsoType(header, 0)).toBe(virtio.GSO_TCPV4 | virtio.GSO_ECN);
    expect(virtio.hdrLen(header, 0)).toBe(54);
    expect(virtio.gsoSize(header, 0)).toBe(1460);
    expect(virtio.csumStart(header, 0)).toBe(34);
    expect(virtio.csumOffset(header, 0)).toBe(16);
    expect(virtio.numBuffers(header, 0)).toBe(2);
  });

  test('construct', () => {
    const bytes = dirty(12);
    virtio.setFlags(bytes, 0, virtio.NEEDS_CSUM);
    virtio.setGsoType(bytes, 0, virtio.GSO_TCPV4 | virtio.GSO_ECN);
    virtio.setHdrLen(bytes, 0, 54);
    virtio.setGsoSize(bytes, 0, 1460);
    virtio.setCsumStart(bytes, 0, 34);
    virtio.setCsumOffset(bytes, 0, 16);
    virtio.setNumBuffers(bytes, 0, 2);
    expect(bytes).toEqual(header);
  });

  test('clear zeroes twelve bytes in front of the frame, no more', () => {
    const bytes = new Uint8Array(64).fill(0xa5);
    virtio.clear(new Uint16Array(bytes.buffer), new Int32Array(bytes.buffer), 14);
    const expected = new Uint8Array(64).fill(0xa5).fill(0, 2, 14);
    expect(bytes).toEqual(expected);
  });
});
