import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { CELL } from '../../src/counters.ts';
import {
  AS_IS,
  checkOffload,
  clearOffload,
  COMPLETE,
  completeChecksum,
  longestDatagram,
  MAX_SEGMENTS,
  MIN_GSO_SIZE,
  needsChecksum,
  needsSegmentation,
  remainingWork,
  SEGMENT,
} from '../../src/routing/offload.ts';
import { GSO, HDR_FLAG, PLAIN, type NetHeader } from '../support/net-header.ts';
import { offloadedTcp, offloadedUdp, pattern, type Offloaded } from '../support/offload-frames.ts';
import { ethernet, ETHERTYPE, icmp, ipv4, parse } from '../support/packets.ts';
import { dirtyStorage, expectBytes, frameOf, headerOf, putFrame } from '../support/slots.ts';

const CSUM = CELL.badChecksumOffload;
const GSO_BAD = CELL.badSegmentation;

interface Outcome {
  reason: number;
  frame: Buffer;
  header: NetHeader;
}

/** Checks a datagram with everything negotiated, header changed as told. */
function check(
  { frame, header }: Offloaded,
  lie: Partial<NetHeader> = {},
  csum = true,
  tso4 = true,
  ecn = true,
): Outcome {
  const storage = dirtyStorage((frame.length + 127) & -64, 4);
  const slot = putFrame(storage, frame, { ...header, ...lie });
  const reason = checkOffload(storage, slot, csum, tso4, ecn);
  return { reason, frame: frameOf(storage, slot), header: headerOf(storage, slot) };
}

describe('what Linux guests send is taken as it is', () => {
  test.each([
    ['TCP', offloadedTcp({ payload: pattern(100) })],
    ['TCP without data', offloadedTcp({ payload: pattern(0), tcpOptions: 20 })],
    ['TCP with IP options', offloadedTcp({ payload: pattern(100), ipOptions: 40 })],
    ['UDP', offloadedUdp({ payload: pattern(101) })],
    ['UDP without data', offloadedUdp({ payload: pattern(0) })],
    ['UDP of 64 KiB', offloadedUdp({ payload: pattern(65507) })],
    ['TSO', offloadedTcp({ payload: pattern(40_000), gsoSize: 1448, tcpOptions: 12 })],
    ['TSO of 64 KiB', offloadedTcp({ payload: pattern(65495), gsoSize: 1460 })],
    ['TSO with an MTU of 576', offloadedTcp({ payload: pattern(65495), gsoSize: 536 })],
    [
      'TSO with an MTU of 576 and all options',
      offloadedTcp({ payload: pattern(65415), gsoSize: 456, tcpOptions: 40, ipOptions: 40 }),
    ],
    ['TSO of a jumbo frame', offloadedTcp({ payload: pattern(60_000), gsoSize: 8948 })],
    ['TSO, most segments', offloadedTcp({ payload: pattern(MAX_SEGMENTS * 100), gsoSize: 100 })],
    ['TSO with the smallest MSS', offloadedTcp({ payload: pattern(500), gsoSize: MIN_GSO_SIZE })],
  ])('%s', (_name, offloaded) => {
    expect(check(offloaded)).toEqual({ reason: 0, ...offloaded });
  });
});

describe('the header becomes canonical', () => {
  const tcp = offloadedTcp({ payload: pattern(3000), gsoSize: 1000 });
  const udp = offloadedUdp({ payload: pattern(100) });
  const plain = { frame: udp.frame, header: PLAIN };

  test.each<[string, Offloaded, Partial<NetHeader>]>([
    ['hdr_len 0', tcp, { headerLength: 0 }],
    ['hdr_len 65535', tcp, { headerLength: 65535 }],
    ['num_buffers 65535', tcp, { buffers: 65535 }],
    ['unknown flags', tcp, { flags: 0xf9 }],
    ['DATA_VALID and RSC_INFO beside NEEDS_CSUM', udp, { flags: 7 }],
    ['gso_size and hdr_len without gso_type', udp, { gsoSize: 9, headerLength: 65535 }],
    ['DATA_VALID alone', plain, { flags: HDR_FLAG.dataValid }],
    ['unknown flags alone', plain, { flags: 0xfe, checksumStart: 65535, checksumOffset: 65535 }],
  ])('%s', (_name, offloaded, lie) => {
    expect(check(offloaded, lie)).toEqual({ reason: 0, ...offloaded });
  });

  test('one segment is no segmentation', () => {
    const one = offloadedTcp({ payload: pattern(1000) });
    const outcome = check(offloadedTcp({ payload: pattern(1000), gsoSize: 1000 }));
    expect(outcome).toEqual({ reason: 0, ...one });
    expect(check(one, { gsoType: GSO.tcpv4 | GSO.ecn, gsoSize: 40_000 })).toEqual({
      reason: 0,
      ...one,
    });
  });

  test('padding behind the datagram is cut off', () => {
    const padded = Buffer.concat([udp.frame, Buffer.from('leaked')]);
    expect(check({ frame: padded, header: udp.header })).toEqual({ reason: 0, ...udp });
  });

  test('the sum of the pseudo-header is written again', () => {
    for (const offloaded of [tcp, udp]) {
      const wrong = Buffer.from(offloaded.frame);
      wrong[offloaded.header.checksumStart + offloaded.header.checksumOffset] ^= 0x55;
      expect(check({ frame: wrong, header: offloaded.header })).toEqual({
        reason: 0,
        ...offloaded,
      });
    }
  });

  test('CWR with its flag, where negotiated', () => {
    const header = { ...tcp.header, gsoType: GSO.tcpv4 | GSO.ecn };
    expect(check({ ...tcp, header })).toEqual({ reason: 0, frame: tcp.frame, header });
  });
});

describe('impossible checksums are dropped', () => {
  const tcp = offloadedTcp({ payload: pattern(100) });
  const udp = offloadedUdp({ payload: pattern(100) });
  const options = offloadedTcp({ payload: pattern(100), ipOptions: 8 });
  const changed = (offloaded: Offloaded, at: number, ...values: number[]): Offloaded => {
    const frame = Buffer.from(offloaded.frame);
    frame.set(values, at);
    return { frame, header: offloaded.header };
  };
  const cut = (offloaded: Offloaded, length: number): Offloaded => ({
    frame: Buffer.from(offloaded.frame.subarray(0, length)),
    header: offloaded.header,
  });

  test.each<[string, Offloaded, Partial<NetHeader>]>([
    ['start 0', tcp, { checksumStart: 0 }],
    ['start in the Ethernet header', tcp, { checksumStart: 13 }],
    ['start at the IP header', tcp, { checksumStart: 14 }],
    ['start one byte early', tcp, { checksumStart: 33 }],
    ['start one byte late', tcp, { checksumStart: 35 }],
    ['start in the IP options', options, { checksumStart: 34 }],
    ['start at the last byte', tcp, { checksumStart: tcp.frame.length - 1 }],
    ['start at the end', tcp, { checksumStart: tcp.frame.length }],
    ['start 65535', tcp, { checksumStart: 65535 }],
    [
      'start and offset that wrap to the right place',
      tcp,
      { checksumStart: 65520, checksumOffset: 66 },
    ],
    ['offset 0', tcp, { checksumOffset: 0 }],
    ['offset 15', tcp, { checksumOffset: 15 }],
    ['offset 65535', tcp, { checksumOffset: 65535 }],
    ['UDP’s offset in TCP', tcp, { checksumOffset: 6 }],
    ['TCP’s offset in UDP', udp, { checksumOffset: 16 }],
    ['a fragment', changed(tcp, 20, 0x20, 0), {}],
    ['a later fragment', changed(udp, 20, 0, 1), {}],
    ['another protocol', changed(tcp, 23, 132), {}],
    ['not IPv4', changed(tcp, 12, 0x86, 0xdd), {}],
    ['ARP', changed(tcp, 12, 0x08, 0x06), {}],
    ['header length of 16', changed(tcp, 14, 0x44), { checksumStart: 30 }],
    ['header length past the end', changed(cut(udp, 50), 14, 0x4f), { checksumStart: 74 }],
    ['total length below the header', changed(tcp, 16, 0, 19), {}],
    ['total length past the frame', changed(tcp, 16, 0xff, 0xff), {}],
    ['TCP header cut off by total length', changed(tcp, 16, 0, 39), {}],
    ['TCP data offset of 16', changed(tcp, 46, 0x40), {}],
    ['TCP data offset past the end', changed(offloadedTcp({ payload: pattern(4) }), 46, 0xf0), {}],
    ['UDP header cut off by total length', changed(udp, 16, 0, 27), {}],
    ['UDP length below its header', changed(udp, 38, 0, 7), {}],
    ['UDP length past the packet', changed(udp, 38, 0, 109), {}],
    ['UDP length short of the packet', changed(udp, 38, 0, 107), {}],
    ['frame without a whole IP header', cut(tcp, 33), {}],
    ['frame of an Ethernet header', cut(tcp, 14), {}],
  ])('%s', (_name, offloaded, lie) => {
    const outcome = check(offloaded, lie);
    expect(outcome.reason).toBe(CSUM);
    expect(outcome.frame).toEqual(offloaded.frame);
  });

  test('ICMP has none', () => {
    const frame = ethernet(
      { source: '52:54:00:00:00:11', destination: '02:00:00:00:00:01', type: ETHERTYPE.ipv4 },
      ipv4(
        { source: '10.77.0.11', destination: '10.77.0.1', protocol: 1 },
        icmp({ type: 8 }, pattern(9)),
      ),
    );
    expect(check({ frame, header: { ...tcp.header, checksumOffset: 2 } }).reason).toBe(CSUM);
  });

  test('not negotiated', () => {
    expect(check(tcp, {}, false, false, false).reason).toBe(CSUM);
  });
});

describe('impossible segmentations are dropped', () => {
  const tcp = offloadedTcp({ payload: pattern(20_000), gsoSize: 1000 });
  const udp = offloadedUdp({ payload: pattern(20_000) });
  const tso = { gsoType: GSO.tcpv4, gsoSize: 100 };
  const bare = offloadedTcp({ payload: pattern(0), gsoSize: 1000 });

  test.each<[string, Offloaded, Partial<NetHeader>]>([
    ['without NEEDS_CSUM', tcp, { flags: 0 }],
    ['with DATA_VALID instead', tcp, { flags: HDR_FLAG.dataValid }],
    ['unknown type', tcp, { gsoType: 9 }],
    ['type 2', tcp, { gsoType: 2 }],
    ['ECN alone', tcp, { gsoType: GSO.ecn }],
    ['TCPV6 on IPv4', tcp, { gsoType: GSO.tcpv6 }],
    ['UDP on TCP', tcp, { gsoType: GSO.udp }],
    ['UDP_L4 on TCP', tcp, { gsoType: GSO.udpL4 }],
    ['UDP_L4 on UDP, not offered', udp, { gsoType: GSO.udpL4, gsoSize: 1000 }],
    ['UDP on UDP, not offered', udp, { gsoType: GSO.udp, gsoSize: 1000 }],
    ['TCPV4 on UDP', udp, { gsoType: GSO.tcpv4, gsoSize: 1000 }],
    ['gso_size 0', tcp, { gsoSize: 0 }],
    ['gso_size 1', tcp, { gsoSize: 1 }],
    ['gso_size below the floor', tcp, { gsoSize: MIN_GSO_SIZE - 1 }],
    ['gso_size 65535, GSO_BY_FRAGS in Linux', tcp, { gsoSize: 65535 }],
    ['segments no IP datagram could hold', tcp, { gsoSize: 65496 }],
    ['one segment too many', offloadedTcp({ payload: pattern(MAX_SEGMENTS * 100 + 1) }), tso],
    ['no data', bare, {}],
  ])('%s', (_name, offloaded, lie) => {
    const outcome = check(offloaded, lie);
    expect(outcome.reason).toBe(GSO_BAD);
    expect(outcome.frame).toEqual(offloaded.frame);
  });

  test('not negotiated', () => {
    expect(check(tcp, {}, true, false, false).reason).toBe(GSO_BAD);
    expect(check(tcp, { gsoType: GSO.tcpv4 | GSO.ecn }, true, true, false).reason).toBe(GSO_BAD);
    expect(check(tcp, {}, true, true, false).reason).toBe(0);
  });
});

test('whatever the header says: refused unchanged, or canonical', () => {
  const half = fc.oneof(fc.nat(0xffff), fc.constantFrom(0, 1, 6, 16, 34, 54, 74, 536, 1460));
  const datagrams = fc.constantFrom(
    offloadedTcp({ payload: pattern(3000) }),
    offloadedTcp({ payload: pattern(3001), ipOptions: 20, tcpOptions: 12 }),
    offloadedUdp({ payload: pattern(333) }),
  );
  fc.assert(
    fc.property(
      datagrams,
      fc.oneof(fc.nat(255), fc.constant(1)),
      fc.oneof(fc.nat(255), fc.constantFrom(0, 1, 0x81)),
      fc.tuple(half, half, half, half),
      ({ frame }, flags, gsoType, [headerLength, gsoSize, checksumStart, checksumOffset]) => {
        const lie = { flags, gsoType, headerLength, gsoSize, checksumStart, checksumOffset };
        const { reason, header, frame: after } = check({ frame, header: PLAIN }, lie);
        expectBytes(after, frame);
        if (reason !== 0) {
          expect([CSUM, GSO_BAD]).toContain(reason);
          expect(header).toEqual({ ...PLAIN, ...lie });
        } else if (header.flags === 0) {
          expect(header).toEqual(PLAIN);
        } else {
          expect(header.flags).toBe(1);
          expect([0, 1, 0x81]).toContain(header.gsoType);
          const headers =
            header.checksumStart +
            (frame[23] === 6 ? (frame[header.checksumStart + 12] >> 4) * 4 : 8);
          expect(header.headerLength).toBe(header.gsoType === 0 ? 0 : headers);
          expect(header.gsoSize).toBe(header.gsoType === 0 ? 0 : gsoSize);
          expect(header.checksumStart).toBe(14 + (frame[14] & 15) * 4);
        }
      },
    ),
    { numRuns: 3000 },
  );
});

test('any bytes behind any header: no exception, never a byte behind the frame', () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ minLength: 14, maxLength: 120 }),
      fc.uint8Array({ minLength: 12, maxLength: 12 }),
      fc.boolean(),
      (frame, header, ip) => {
        if (ip && frame.length >= 34) {
          frame.set([0x08, 0x00], 12);
          frame[14] = 0x45 + (frame[14] & 1);
          frame[16] = 0;
          frame[20] = 0;
          frame[21] = 0;
          frame[23] = (frame[23] & 1) === 1 ? 6 : 17;
          header[0] |= 1;
          header.set([14 + (frame[14] & 15) * 4, 0, frame[23] === 6 ? 16 : 6, 0], 6);
        }
        const storage = dirtyStorage(4096, 4);
        const slot = putFrame(storage, frame);
        const at = storage.at[slot];
        storage.bytes.set(header, at - 12);
        const behind = storage.bytes.slice(at + frame.length);
        const reason = checkOffload(storage, slot, true, true, true);
        if (reason === 0) {
          expect(storage.length[slot]).toBeLessThanOrEqual(frame.length);
          if (!needsSegmentation(storage, slot)) completeChecksum(storage, slot);
        }
        expectBytes(storage.bytes.slice(at + frame.length), behind);
        expect([...storage.bytes.slice(0, at - 12)]).toEqual([0xa5, 0xa5]);
      },
    ),
    { numRuns: 2000 },
  );
});

describe('completeChecksum', () => {
  test('makes every checksum right, whatever the length and the options', () => {
    fc.assert(
      fc.property(
        fc.boolean(),
        fc.uint8Array({ maxLength: 200 }),
        fc.nat(10),
        fc.nat(10),
        (isTcp, payload, ipOptions, tcpOptions) => {
          const shape = { payload, ipOptions: ipOptions * 4, tcpOptions: tcpOptions * 4 };
          const { frame, header } = isTcp ? offloadedTcp(shape) : offloadedUdp(shape);
          const storage = dirtyStorage(4096, 4);
          const slot = putFrame(storage, frame, header);
          expect(needsChecksum(storage, slot)).toBe(true);
          expect(checkOffload(storage, slot, true, false, false)).toBe(0);
          completeChecksum(storage, slot);
          const parsed = parse(frameOf(storage, slot));
          expect(parsed.problems).toEqual([]);
          expect(parsed.checksum).toBe('good');
          expect(headerOf(storage, slot)).toEqual(PLAIN);
          expect(needsChecksum(storage, slot)).toBe(false);
        },
      ),
    );
  });

  test('64 KiB', () => {
    for (const length of [65507, 65506, 65505]) {
      const { frame, header } = offloadedUdp({ payload: Buffer.alloc(length, 0xff) });
      const storage = dirtyStorage();
      const slot = putFrame(storage, frame, header);
      expect(checkOffload(storage, slot, true, false, false)).toBe(0);
      completeChecksum(storage, slot);
      expect(parse(frameOf(storage, slot)).checksum).toBe('good');
    }
  });

  test('a UDP checksum of 0 goes out as 0xffff, a TCP one as 0', () => {
    for (const [make, at] of [
      [offloadedUdp, 40],
      [offloadedTcp, 50],
    ] as const) {
      // Two bytes of payload that make up for all the rest: complete it once, put the result there.
      const complete = (payload: Uint8Array) => {
        const { frame, header } = make({ payload });
        const storage = dirtyStorage(4096, 4);
        const slot = putFrame(storage, frame, header);
        completeChecksum(storage, slot);
        return frameOf(storage, slot);
      };
      const first = complete(Buffer.alloc(2));
      const second = complete(first.subarray(at, at + 2));
      expect(second.readUInt16BE(at)).toBe(make === offloadedUdp ? 0xffff : 0);
    }
  });

  test('nothing to do: the header is cleared, the frame left alone', () => {
    const { frame } = offloadedUdp({ payload: pattern(30) });
    const storage = dirtyStorage();
    const slot = putFrame(storage, frame, { flags: HDR_FLAG.dataValid });
    completeChecksum(storage, slot);
    expect(frameOf(storage, slot)).toEqual(frame);
    expect(headerOf(storage, slot)).toEqual(PLAIN);
  });
});

test('clearOffload zeroes the header and nothing else', () => {
  const storage = dirtyStorage();
  const { frame } = offloadedUdp({ payload: pattern(30) });
  const slot = putFrame(storage, frame, { ...PLAIN, flags: 255, gsoType: 255, buffers: 65535 });
  clearOffload(storage, slot);
  expect(headerOf(storage, slot)).toEqual(PLAIN);
  expect(frameOf(storage, slot)).toEqual(frame);
});

describe('remainingWork', () => {
  const work = (header: Partial<NetHeader>, csum: boolean, tso4: boolean, ecn: boolean) => {
    const storage = dirtyStorage(4096, 4);
    const frame = Buffer.alloc(60);
    frame[14] = 0x45;
    const slot = putFrame(storage, frame, header);
    return remainingWork(storage, slot, csum, tso4, ecn);
  };
  const needs = { flags: HDR_FLAG.needsCsum, checksumStart: 34 };

  test.each<[string, Partial<NetHeader>, [boolean, boolean, boolean], number]>([
    ['nothing asked', {}, [false, false, false], AS_IS],
    ['checksum, taken', needs, [true, false, false], AS_IS],
    ['checksum, not taken', needs, [false, false, false], COMPLETE],
    ['DATA_VALID, taken', { flags: 2 }, [true, false, false], AS_IS],
    ['DATA_VALID, not taken', { flags: 2 }, [false, false, false], COMPLETE],
    ['TSO, taken', { ...needs, gsoType: 1 }, [true, true, false], AS_IS],
    ['TSO, not taken', { ...needs, gsoType: 1 }, [true, false, false], SEGMENT],
    [
      'TSO without checksum (never negotiated so)',
      { ...needs, gsoType: 1 },
      [false, true, true],
      SEGMENT,
    ],
    ['TSO with ECN, taken', { ...needs, gsoType: 0x81 }, [true, true, true], AS_IS],
    ['TSO with ECN, not taken', { ...needs, gsoType: 0x81 }, [true, true, false], SEGMENT],
    ['UDP segments, which nobody takes', { ...needs, gsoType: 5 }, [true, true, true], SEGMENT],
  ])('%s', (_name, header, [csum, tso4, ecn], expected) => {
    expect(work(header, csum, tso4, ecn)).toBe(expected);
  });
});

test('longestDatagram is what an MTU is compared with', () => {
  const longest = ({ frame, header }: Offloaded) => {
    const storage = dirtyStorage();
    const slot = putFrame(storage, frame, header);
    expect(checkOffload(storage, slot, true, true, true)).toBe(0);
    return longestDatagram(storage, slot);
  };
  expect(longest(offloadedUdp({ payload: pattern(100) }))).toBe(128);
  expect(longest(offloadedTcp({ payload: pattern(9000), gsoSize: 1460 }))).toBe(1500);
  expect(longest(offloadedTcp({ payload: pattern(9000), gsoSize: 1448, tcpOptions: 12 }))).toBe(
    1500,
  );
  expect(longest(offloadedTcp({ payload: pattern(1460), gsoSize: 1460 }))).toBe(1500);
  expect(longest(offloadedTcp({ payload: pattern(1000), gsoSize: 60_000 }))).toBe(1040);
});
