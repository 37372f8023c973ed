/**
 * Ranked case 9: the virtio-net header asks for impossible checksums and segmentation. Dropped and counted; hints and unknown flags
 * are ignored.
 */
import { describe, expect, test } from 'vitest';
import type { DropReason } from '../../src/counters.ts';
import { useFixture } from '../support/fixture.ts';
import { BOTH_FORMATS, FORMATS } from '../support/formats.ts';
import { GSO, HDR_FLAG, type NetHeader } from '../support/net-header.ts';
import { parse } from '../support/packets.ts';
import { FEATURE } from '../support/protocol.ts';
import { A, B, tcpFrame, udpFrame } from '../support/traffic.ts';
import { LINUX_FEATURES } from '../support/vm.ts';
import { expectDropped } from './attack.ts';
import { CHECKSUM_LIES, csum, udpData } from './checksums.ts';

const payload = Buffer.alloc(3000, 0x5a);
const tcpData = tcpFrame(A, B.ip, payload, { checksum: 'partial' });
const tso: Partial<NetHeader> = {
  ...csum(34, 16),
  gsoType: GSO.tcpv4,
  gsoSize: 1448,
  headerLength: 54,
};

const SEGMENTATION: [string, Buffer, Partial<NetHeader>, bigint?][] = [
  ['an unknown type', tcpData, { ...tso, gsoType: 9 }],
  ['type 0x7f', tcpData, { ...tso, gsoType: 0x7f }],
  ['size 0', tcpData, { ...tso, gsoSize: 0 }],
  ['size 1', tcpData, { ...tso, gsoSize: 1 }],
  ['size 7', tcpData, { ...tso, gsoSize: 7 }],
  ['size 65535', tcpData, { ...tso, gsoSize: 65535 }],
  ['ECN alone', udpData, { gsoType: GSO.ecn }],
  ['ECN alone, with a checksum', tcpData, { ...tso, gsoType: GSO.ecn }],
  ['TCPV6 on IPv4', tcpData, { ...tso, gsoType: GSO.tcpv6 }],
  ['without NEEDS_CSUM', tcpData, { ...tso, flags: 0 }],
  ['of a UDP datagram as TCP', udpData, { ...tso, ...csum(34, 6) }],
  ['UFO, not negotiated', udpData, { ...csum(34, 6), gsoType: GSO.udp, gsoSize: 512 }],
  ['USO, not negotiated', udpData, { ...csum(34, 6), gsoType: GSO.udpL4, gsoSize: 512 }],
  ['of a fragment', tcpFrame(A, B.ip, payload, { checksum: 'partial', ip: { flags: 1 } }), tso],
  ['ECN, not negotiated', tcpData, { ...tso, gsoType: GSO.tcpv4 | GSO.ecn }, FEATURE.HOST_ECN],
  ['TSO4, not negotiated', tcpData, tso, FEATURE.HOST_TSO4 | FEATURE.HOST_TSO6 | FEATURE.HOST_ECN],
];

const fixture = useFixture(BOTH_FORMATS);

describe.each(FORMATS)('the virtio-net header lies: $format', ({ packed }) => {
  for (const lie of CHECKSUM_LIES) {
    test(lie.name, async () => {
      await expectDropped(fixture(), await fixture().attacker({ packed }), lie);
    });
  }

  for (const [name, frame, header, lacks] of SEGMENTATION) {
    test(`segmentation: ${name}`, async () => {
      const features = LINUX_FEATURES & ~(lacks ?? 0n);
      const a = await fixture().attacker({ packed, features, transmitBytes: 4096 });
      // The checksum comes first, and a fragment has none that could be completed.
      const reason: DropReason =
        name === 'of a fragment' ? 'badChecksumOffload' : 'badSegmentation';
      await expectDropped(fixture(), a, {
        name,
        reason,
        tell: () => a.trySend(frame, { header, publish: false }),
      });
    });
  }

  test('a checksum, not negotiated', async () => {
    const a = await fixture().attacker({ packed, features: LINUX_FEATURES & ~FEATURE.CSUM });
    await expectDropped(fixture(), a, {
      name: 'NEEDS_CSUM without CSUM',
      reason: 'badChecksumOffload',
      tell: () => a.trySend(udpData, { header: csum(34, 6), publish: false }),
    });
  });

  for (const headerLength of [0, 1, 65535]) {
    test(`hdr_len ${headerLength} is only a hint`, async () => {
      const a = await fixture().attacker({ packed, transmitBytes: 4096 });
      await a.send(tcpData, { header: { ...tso, headerLength } });
      const got = await fixture().flow.other(fixture().b);
      expect(parse(got.frame).problems).toEqual([]);
      expect(parse(got.frame).tcp?.payload.equals(payload)).toBe(true);
      await fixture().goodPasses(a);
    });
  }

  test('start and offset without NEEDS_CSUM, unknown flags and num_buffers are ignored', async () => {
    const a = await fixture().attacker({ packed });
    const frame = udpFrame(A, B.ip, Buffer.from('ignored'));
    for (const header of [
      { checksumStart: 65535, checksumOffset: 65535 },
      { flags: 0xfe },
      { flags: HDR_FLAG.dataValid | HDR_FLAG.rscInfo, checksumStart: 9 },
      { buffers: 65535, gsoSize: 77, headerLength: 65535 },
    ]) {
      await a.send(frame, { header });
      const got = await fixture().flow.other(fixture().b);
      expect(parse(got.frame)).toMatchObject({ problems: [], checksum: 'good' });
      expect(got.header.flags & HDR_FLAG.needsCsum).toBe(0);
      expect(got.header.buffers).toBe(1);
    }
    await fixture().goodPasses(a);
  });

  test('at most 512 segments come out of one datagram', async () => {
    const a = await fixture().attacker({
      packed,
      transmitBytes: 66000,
      queueSize: 64,
      memory: { regions: [{ guestAddress: 0, bytes: 24 << 20 }] },
    });
    const header = { ...tso, gsoSize: 100 };
    const frame = (bytes: number) =>
      tcpFrame(A, B.ip, Buffer.alloc(bytes, 0x5a), { checksum: 'partial' });
    for (const bytes of [51_201, 60_000]) {
      await expectDropped(fixture(), a, {
        name: `${bytes} bytes in segments of 100`,
        reason: 'badSegmentation',
        tell: () => a.trySend(frame(bytes), { header, publish: false }),
      });
    }
    await a.send(frame(51_200), { header });
    const got = await fixture().flow.other(fixture().b);
    expect(parse(got.frame).tcp?.payload.length).toBe(51_200);
  });
});
