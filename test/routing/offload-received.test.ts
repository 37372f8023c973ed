import { describe, expect, test } from 'vitest';
import { CELL } from '../../src/counters.ts';
import { checkReceivedOffload, isCanonical } from '../../src/routing/offload-received.ts';
import { crc32c } from '../../src/wire/sctp.ts';
import { GSO, HDR_FLAG, PLAIN, type NetHeader } from '../support/net-header.ts';
import { offloadedTcp, offloadedUdp, pattern, type Offloaded } from '../support/offload-frames.ts';
import { ethernet, ETHERTYPE, ipv4, parse, udp } from '../support/packets.ts';
import { dirtyStorage, frameOf, headerOf, putFrame } from '../support/slots.ts';

function check({ frame, header }: Offloaded, lie: Partial<NetHeader> = {}) {
  const storage = dirtyStorage();
  const slot = putFrame(storage, frame, { ...header, ...lie });
  const reason = checkReceivedOffload(storage, slot);
  if (reason === 0) expect(isCanonical(storage, slot), 'it is canonical afterwards').toBe(true);
  return { reason, frame: frameOf(storage, slot), header: headerOf(storage, slot) };
}

describe('handed over by another worker: believed only as far as it can be true', () => {
  const whole = offloadedUdp({ payload: pattern(100) });
  const large = offloadedTcp({ payload: pattern(20_000), gsoSize: 1448 });
  const canonical = ({ frame, header }: Offloaded, lie: Partial<NetHeader> = {}) => {
    const storage = dirtyStorage();
    return isCanonical(storage, putFrame(storage, frame, { ...header, ...lie }));
  };

  test('what an honest worker hands over', () => {
    for (const offloaded of [whole, large, { ...whole, header: PLAIN }])
      expect(canonical(offloaded)).toBe(true);
    expect(canonical(whole, { ...PLAIN, flags: HDR_FLAG.dataValid })).toBe(true);
  });

  test.each<[string, Offloaded, Partial<NetHeader>]>([
    ['a checksum far behind the frame', whole, { checksumStart: 60_000, checksumOffset: 40_000 }],
    ['a checksum in another place', whole, { checksumStart: 36 }],
    ['segments of nothing', large, { gsoSize: 0 }],
    ['headers that end elsewhere', large, { headerLength: 9000 }],
    ['segmentation without a checksum', large, { flags: 0 }],
    ['too many segments', large, { gsoSize: 1 }],
    ['segments without data', offloadedTcp({ payload: pattern(0), gsoSize: 1448 }), {}],
  ])('not %s', (_name, offloaded, lie) => {
    expect(canonical(offloaded, lie)).toBe(false);
  });
});

describe('believed', () => {
  const merged = offloadedTcp({ payload: pattern(20_000), gsoSize: 1448, tcpOptions: 12 });
  const whole = offloadedUdp({ payload: pattern(100) });

  test.each<[string, Offloaded, Partial<NetHeader>]>([
    ['unfinished TCP', offloadedTcp({ payload: pattern(77) }), {}],
    ['unfinished UDP', whole, { headerLength: 42 }],
    ['merged TCP', merged, {}],
    [
      'merged by the card, checksums verified',
      merged,
      { flags: HDR_FLAG.dataValid, checksumStart: 0, checksumOffset: 0 },
    ],
    ['small segments, as they came', offloadedTcp({ payload: pattern(40), gsoSize: 4 }), {}],
    [
      'the smallest segments of a full datagram',
      offloadedTcp({ payload: pattern(65_000), gsoSize: 48 }),
      {},
    ],
    ['UDP segments', offloadedUdp({ payload: pattern(5000), gsoSize: 1200 }), {}],
  ])('%s', (_name, offloaded, change) => {
    expect(check(offloaded, change)).toEqual({ reason: 0, ...offloaded });
  });

  test('DATA_VALID stays, alone', () => {
    const outcome = check(whole, { ...PLAIN, flags: 0xfe, headerLength: 42, checksumStart: 9 });
    expect(outcome).toEqual({
      reason: 0,
      frame: whole.frame,
      header: { ...PLAIN, flags: HDR_FLAG.dataValid },
    });
  });

  test('a checksum further inside is completed at once', () => {
    const inner = udp(
      {
        source: '192.168.0.1',
        destination: '192.168.0.2',
        sourcePort: 1,
        destinationPort: 2,
        checksum: 'partial',
      },
      pattern(33),
    );
    const innerIp = ipv4(
      { source: '192.168.0.1', destination: '192.168.0.2', protocol: 17 },
      inner,
    );
    const frame = ethernet(
      { source: '52:54:00:00:00:11', destination: '02:00:00:00:00:01', type: ETHERTYPE.ipv4 },
      ipv4({ source: '10.0.0.1', destination: '10.0.0.2', protocol: 4 }, innerIp),
    );
    const header = { ...PLAIN, flags: 1, checksumStart: 54, checksumOffset: 6 };
    const outcome = check({ frame, header });
    expect(outcome.reason).toBe(0);
    expect(outcome.header).toEqual(PLAIN);
    const mended = ethernet(
      { source: '52:54:00:00:00:11', destination: '02:00:00:00:00:01', type: ETHERTYPE.ipv4 },
      outcome.frame.subarray(34),
    );
    expect(parse(mended).checksum).toBe('good');

    for (const lie of [
      { checksumStart: 33 },
      { checksumStart: 65535 },
      { checksumOffset: frame.length - 54 - 1 },
      { checksumOffset: 65535 },
    ]) {
      const refused = check({ frame, header }, lie);
      expect(refused.reason).toBe(CELL.badChecksumOffload);
      expect(refused.frame).toEqual(frame);
    }
    const sctp = Buffer.from(frame);
    sctp[23] = 132;
    expect(check({ frame: sctp, header }).reason).toBe(CELL.badChecksumOffload);
    expect(check({ frame: frame.subarray(0, 20), header }).reason).toBe(CELL.badChecksumOffload);
  });
});

describe('SCTP whose checksum a sender on this host leaves to the device', () => {
  const chunks = '0300001000000001';
  const packet = Buffer.from(`03e807d000000001${'00'.repeat(4)}${chunks}`, 'hex');
  const header = { ...PLAIN, flags: HDR_FLAG.needsCsum, checksumStart: 34, checksumOffset: 8 };
  const frame = ethernet(
    { source: '52:54:00:00:00:11', destination: '02:00:00:00:00:01', type: ETHERTYPE.ipv4 },
    ipv4({ source: '10.77.0.200', destination: '10.77.0.11', protocol: 132 }, packet),
  );

  test('is completed: a CRC32c', () => {
    const outcome = check({ frame, header });
    expect(outcome.reason).toBe(0);
    expect(outcome.header).toEqual(PLAIN);
    const made = outcome.frame.subarray(34);
    expect(made.readInt32LE(8)).toBe(crc32c(packet, 0, packet.length));
    expect(made.toString('hex', 12)).toBe(chunks);
  });

  test('a packet that ends in the midst of it is dropped', () => {
    const short = ethernet(
      { source: '52:54:00:00:00:11', destination: '02:00:00:00:00:01', type: ETHERTYPE.ipv4 },
      ipv4(
        { source: '10.77.0.200', destination: '10.77.0.11', protocol: 132 },
        packet.subarray(0, 10),
      ),
    );
    const refused = check({ frame: short, header });
    expect(refused.reason).toBe(CELL.badChecksumOffload);
    expect(refused.frame).toEqual(short);
  });

  test.each([{ checksumStart: 38 }, { checksumOffset: 6 }, { checksumOffset: 9 }])(
    'at another place it is none: %o',
    (lie) => {
      const refused = check({ frame, header }, lie);
      expect(refused.reason).toBe(CELL.badChecksumOffload);
      expect(refused.frame).toEqual(frame);
    },
  );
});

test('what no guest could be given is dropped', () => {
  const tcp = offloadedTcp({ payload: pattern(20_000), gsoSize: 1448 });
  const datagram = offloadedUdp({ payload: pattern(2000), gsoSize: 1000 });
  const reasons = [
    check(tcp, { gsoType: GSO.tcpv6 }),
    check(tcp, { gsoType: GSO.udp }),
    check(tcp, { gsoType: GSO.udpL4 }),
    check(tcp, { gsoType: 9 }),
    check(tcp, { gsoSize: 0 }),
    check(datagram, { gsoType: GSO.tcpv4 }),
    check(offloadedTcp({ payload: pattern(0), gsoSize: 9 })),
    check(offloadedTcp({ payload: pattern(1367), gsoSize: 1 })),
    check(offloadedTcp({ payload: pattern(65_000), gsoSize: 47 })),
    check({ frame: tcp.frame.subarray(0, 40), header: tcp.header }),
  ];
  expect(reasons.map(({ reason }) => reason)).toEqual(reasons.map(() => CELL.badSegmentation));
});
