/** What is merged or left uncut inside of a tunnel is cut there, and each piece goes through the tunnel as its sender would have sent it. */
import { describe, expect, test } from 'vitest';
import { CELL } from '../../src/counters.ts';
import { remainingWork, SEGMENT } from '../../src/routing/offload.ts';
import { checkReceivedOffload, isCanonical } from '../../src/routing/offload-received.ts';
import { segment } from '../../src/routing/segment.ts';
import { GSO, HDR_FLAG, PLAIN, type NetHeader } from '../support/net-header.ts';
import { pattern } from '../support/offload-frames.ts';
import {
  checksum,
  ethernet,
  ETHERTYPE,
  ipv4,
  parse,
  PROTOCOL,
  tcp,
  TCP_FLAG,
  udp,
} from '../support/packets.ts';
import { dirtyStorage, frameOf, headerOf, putFrame } from '../support/slots.ts';

const OUTER = { source: '10.77.0.200', destination: '10.77.0.11' };
const INNER = { source: '192.168.0.1', destination: '192.168.0.2' };
const FRAME = { source: '02:00:00:00:99:99', destination: '02:00:00:00:00:01' };
const VXLAN = Buffer.from('0800000000000700', 'hex');
const GRE_WITH_KEY = Buffer.from('2000080000000007', 'hex');
const GRE_WITH_CHECKSUM = Buffer.from('8000080000000000', 'hex');

interface Tunnel {
  protocol: number;
  /** What stands between the outer IP header and the inner one. */
  head: Buffer;
  wrap(inner: Buffer): Buffer;
}

const vxlan = (style: 'none' | 'full'): Tunnel => ({
  protocol: PROTOCOL.udp,
  head: Buffer.alloc(8 + VXLAN.length + 14),
  wrap: (inner) =>
    udp(
      { ...OUTER, sourcePort: 5555, destinationPort: 4789, checksum: style },
      Buffer.concat([VXLAN, ethernet({ ...FRAME, type: ETHERTYPE.ipv4 }, inner)]),
    ),
});
const behind = (protocol: number, head: Buffer): Tunnel => ({
  protocol,
  head,
  wrap: (inner) => {
    const bytes = Buffer.concat([head, inner]);
    if (head === GRE_WITH_CHECKSUM) bytes.writeUInt16BE(checksum(bytes), 4);
    return bytes;
  },
});
const TUNNELS: Record<string, Tunnel> = {
  'IP in IP': behind(4, Buffer.alloc(0)),
  'GRE with a key': behind(47, GRE_WITH_KEY),
  'GRE with a checksum': behind(47, GRE_WITH_CHECKSUM),
  'VXLAN without a checksum': vxlan('none'),
  'VXLAN with one': vxlan('full'),
};

function outer(tunnel: Tunnel, inner: Buffer, identification = 0): Buffer {
  const fields = { ...OUTER, protocol: tunnel.protocol, identification };
  return ethernet({ ...FRAME, type: ETHERTYPE.ipv4 }, ipv4(fields, tunnel.wrap(inner)));
}

const PORTS = { ...INNER, sourcePort: 1000, destinationPort: 2000 };
const { ack, psh, fin, cwr } = TCP_FLAG;

function innerTcp(
  data: Buffer,
  at: number,
  length: number,
  index: number,
  style: 'full' | 'partial',
) {
  const end = at + length === data.length ? psh | fin : 0;
  const flags = ack | end | (index === 0 ? cwr : 0);
  return ipv4(
    { ...INNER, protocol: PROTOCOL.tcp, identification: 7 + index },
    tcp({ ...PORTS, sequence: 1 + at, flags, checksum: style }, data.subarray(at, at + length)),
  );
}

function innerUdp(
  data: Buffer,
  at: number,
  length: number,
  index: number,
  style: 'full' | 'partial',
) {
  return ipv4(
    { ...INNER, protocol: PROTOCOL.udp, identification: 7 + index },
    udp({ ...PORTS, checksum: style }, data.subarray(at, at + length)),
  );
}

const INSIDE = {
  TCP: { inner: innerTcp, type: GSO.tcpv4, offset: 16 },
  UDP: { inner: innerUdp, type: GSO.udpL4, offset: 6 },
};

describe.each(Object.entries(TUNNELS))('%s', (_name, tunnel) => {
  test.each(Object.entries(INSIDE))('%s', (_kind, { inner, type, offset }) => {
    const data = pattern(5000);
    const size = 1300;
    const start = 14 + 20 + tunnel.head.length + 20;
    const header: NetHeader = {
      flags: HDR_FLAG.needsCsum,
      gsoType: type,
      headerLength: 1474, // what the kernel happens to have in one piece
      gsoSize: size,
      checksumStart: start,
      checksumOffset: offset,
      buffers: 0,
    };
    const whole = outer(tunnel, inner(data, 0, data.length, 0, 'partial'), 100);
    const storage = dirtyStorage();
    const slot = putFrame(storage, whole, header);
    expect(checkReceivedOffload(storage, slot)).toBe(0);
    expect(isCanonical(storage, slot), 'no other worker gets it uncut').toBe(false);
    expect(remainingWork(storage, slot, true, true, true), 'no guest does').toBe(SEGMENT);
    const first = storage.count;
    const count = segment(storage, slot);
    expect(count).toBe(4);
    for (let index = 0; index < count; index++) {
      const at = index * size;
      const length = Math.min(size, data.length - at);
      const expected = outer(tunnel, inner(data, at, length, index, 'full'), 100 + index);
      expect(headerOf(storage, first + index)).toEqual(PLAIN);
      const frame = frameOf(storage, first + index);
      expect(parse(frame).problems).toEqual([]);
      expect(frame).toEqual(expected);
    }
  });

  test.each(Object.entries(INSIDE))(
    '%s as a list, which was verified',
    (_kind, { inner, type }) => {
      const data = pattern(5000);
      const size = 1300;
      const whole = outer(tunnel, inner(data, 0, data.length, 0, 'full'), 100);
      const storage = dirtyStorage();
      const slot = putFrame(storage, whole, {
        flags: HDR_FLAG.dataValid,
        gsoType: type,
        headerLength: 1474,
        gsoSize: size,
      });
      expect(checkReceivedOffload(storage, slot)).toBe(0);
      expect(remainingWork(storage, slot, true, true, true)).toBe(SEGMENT);
      const first = storage.count;
      expect(segment(storage, slot)).toBe(4);
      for (let index = 0; index < 4; index++) {
        const at = index * size;
        const length = Math.min(size, data.length - at);
        const expected = outer(tunnel, inner(data, at, length, index, 'full'), 100 + index);
        expect(frameOf(storage, first + index)).toEqual(expected);
      }
    },
  );

  test('no more than one segment: checksums are made, inside and outside', () => {
    const data = pattern(300);
    const start = 14 + 20 + tunnel.head.length + 20;
    const frame = outer(tunnel, innerTcp(data, 0, 300, 0, 'partial'));
    const storage = dirtyStorage();
    const slot = putFrame(storage, frame, {
      flags: HDR_FLAG.needsCsum,
      gsoType: GSO.tcpv4,
      gsoSize: 1300,
      checksumStart: start,
      checksumOffset: 16,
    });
    expect(checkReceivedOffload(storage, slot)).toBe(0);
    expect(segment(storage, slot)).toBe(1);
    expect(headerOf(storage, slot + 1)).toEqual(PLAIN);
    const whole = frameOf(storage, slot + 1);
    expect(parse(whole).problems).toEqual([]);
    expect(whole).toEqual(outer(tunnel, innerTcp(data, 0, 300, 0, 'full')));
  });
});

test.each([
  ['TCP over IPv6 in IPv4', ''],
  ['TCP behind destination options in IPv6', '0600010400000000'],
  ['TCP behind two extensions in IPv6', `3c000104000000000601010c${'00'.repeat(12)}`],
])('%s', (_name, extensions) => {
  const data = pattern(3000);
  const between = Buffer.from(extensions, 'hex');
  const addresses = Buffer.from(
    '20010db8000000000000000000000001' + '20010db8000000000000000000000002',
    'hex',
  );
  const inner = (at: number, length: number, style: 'full' | 'partial') => {
    const flags = at + length === data.length ? ack | psh : ack;
    const bytes = data.subarray(at, at + length);
    const segment = tcp({ ...PORTS, sequence: 1 + at, flags, checksum: 0 }, bytes);
    const head = Buffer.from('600000000000' + '0640', 'hex');
    head.writeUInt16BE(between.length + segment.length, 4);
    // Hop-by-hop options first, where there are two.
    if (between.length > 0) head[6] = between.length > 8 ? 0 : 60;
    const pseudo = Buffer.alloc(8);
    pseudo.writeUInt32BE(segment.length, 0);
    pseudo[7] = PROTOCOL.tcp;
    if (style === 'full') segment.writeUInt16BE(checksum(addresses, pseudo, segment), 16);
    return Buffer.concat([head, addresses, between, segment]);
  };
  const tunnel = behind(41, Buffer.alloc(0));
  const storage = dirtyStorage();
  const slot = putFrame(storage, outer(tunnel, inner(0, data.length, 'partial'), 9), {
    flags: HDR_FLAG.needsCsum,
    gsoType: GSO.tcpv6,
    gsoSize: 1400,
    checksumStart: 74 + between.length,
    checksumOffset: 16,
  });
  expect(checkReceivedOffload(storage, slot)).toBe(0);
  const first = storage.count;
  expect(segment(storage, slot)).toBe(3);
  for (let index = 0; index < 3; index++) {
    const length = Math.min(1400, data.length - index * 1400);
    const expected = outer(tunnel, inner(index * 1400, length, 'full'), 9 + index);
    expect(frameOf(storage, first + index)).toEqual(expected);
  }
});

test.each(['full', 'partial'] as const)(
  'a list of UDP that is a tunnel for nobody here (%s)',
  (style) => {
    // Whoever listens for VXLAN is in the VM: what is merged are the outer datagrams.
    const one = (index: number) => {
      const payload = Buffer.concat([
        VXLAN,
        ethernet({ ...FRAME, type: ETHERTYPE.ipv4 }, innerUdp(pattern(400), 0, 400, index, 'full')),
      ]);
      return udp({ ...OUTER, sourcePort: 5555, destinationPort: 4789, checksum: style }, payload);
    };
    const parts = [one(0), one(1), one(2)];
    const size = parts[0].length - 8;
    const together = Buffer.concat([parts[0], parts[1].subarray(8), parts[2].subarray(8)]);
    together.writeUInt16BE(together.length, 4);
    const fields = { ...OUTER, protocol: PROTOCOL.udp, identification: 5 };
    const storage = dirtyStorage();
    const slot = putFrame(
      storage,
      ethernet({ ...FRAME, type: ETHERTYPE.ipv4 }, ipv4(fields, together)),
      { flags: HDR_FLAG.dataValid, gsoType: GSO.udpL4, gsoSize: size },
    );
    expect(checkReceivedOffload(storage, slot)).toBe(0);
    expect(segment(storage, slot)).toBe(3);
    for (let index = 0; index < 3; index++) {
      const { udp: got, problems } = parse(frameOf(storage, slot + 1 + index));
      expect(problems).toEqual([]);
      expect(got!.payload).toEqual(parts[index].subarray(8));
    }
  },
);

test('what is no tunnel that we know is dropped, unchanged', () => {
  const tunnel = TUNNELS['IP in IP'];
  const frame = outer(tunnel, innerTcp(pattern(5000), 0, 5000, 0, 'partial'));
  const header = {
    flags: HDR_FLAG.needsCsum,
    gsoType: GSO.tcpv4,
    gsoSize: 1300,
    checksumStart: 54,
    checksumOffset: 16,
  };
  const reasonOf = (change: Partial<NetHeader>, mangle = (_bytes: Buffer) => {}) => {
    const bytes = Buffer.from(frame);
    mangle(bytes);
    const storage = dirtyStorage();
    const slot = putFrame(storage, bytes, { ...header, ...change });
    const reason = checkReceivedOffload(storage, slot);
    if (reason !== 0) expect(frameOf(storage, slot)).toEqual(bytes);
    return reason;
  };
  expect(reasonOf({})).toBe(0);
  for (const change of [
    { checksumStart: 53 },
    { checksumStart: 58 },
    { checksumStart: 65_535 },
    { checksumOffset: 6 },
    { gsoType: GSO.udpL4 },
    { gsoType: GSO.udp },
    { gsoSize: 0 },
    { gsoSize: 1 },
  ])
    expect(reasonOf(change), JSON.stringify(change)).toBe(CELL.badSegmentation);
  const sets = (at: number, value: number) => (bytes: Buffer) => {
    bytes[at] = value;
  };
  expect(reasonOf({}, sets(23, 50)), 'ESP').toBe(CELL.badSegmentation);
  expect(reasonOf({}, sets(20, 0x20)), 'a fragment').toBe(CELL.badSegmentation);
  expect(reasonOf({}, sets(37, 9)), 'another length inside').toBe(CELL.badSegmentation);
  expect(reasonOf({}, sets(66, 0x10)), 'headers of 4 bytes').toBe(CELL.badSegmentation);
  // The same with an inner header whose checksum is right.
  const insideSets = (at: number, value: number) => (bytes: Buffer) => {
    bytes[at] = value;
    bytes.writeUInt16BE(0, 44);
    bytes.writeUInt16BE(checksum(bytes.subarray(34, 54)), 44);
  };
  expect(reasonOf({}, insideSets(35, 4)), 'another type of service inside').toBe(0);
  expect(reasonOf({}, insideSets(37, 9)), 'less inside').toBe(CELL.badSegmentation);
  expect(reasonOf({}, insideSets(40, 0x20)), 'a fragment inside').toBe(CELL.badSegmentation);
  expect(reasonOf({}, insideSets(43, 17)), 'UDP inside').toBe(CELL.badSegmentation);
});

test('what stands around it must be whole, and there must be something to cut', () => {
  const reasonOf = (
    tunnel: Tunnel,
    headBytes: number,
    data = 5000,
    mangle = (_bytes: Buffer) => {},
  ) => {
    const frame = outer(tunnel, innerTcp(pattern(data), 0, data, 0, 'partial'));
    mangle(frame);
    const storage = dirtyStorage();
    const slot = putFrame(storage, frame, {
      flags: HDR_FLAG.needsCsum,
      gsoType: GSO.tcpv4,
      gsoSize: 1300,
      checksumStart: 54 + headBytes,
      checksumOffset: 16,
    });
    return checkReceivedOffload(storage, slot);
  };
  const bad = CELL.badSegmentation;
  expect(reasonOf(behind(47, GRE_WITH_KEY), 8)).toBe(0);
  expect(reasonOf(behind(47, GRE_WITH_KEY.subarray(0, 4)), 4), 'no key').toBe(bad);
  expect(reasonOf(vxlan('full'), 30)).toBe(0);
  const longer = (bytes: Buffer) => bytes.writeUInt16BE(bytes.readUInt16BE(38) + 1, 38);
  expect(reasonOf(vxlan('full'), 30, 5000, longer), 'another length of UDP').toBe(bad);
  expect(reasonOf(behind(4, Buffer.alloc(0)), 0, 1)).toBe(0);
  expect(reasonOf(behind(4, Buffer.alloc(0)), 0, 0), 'no data').toBe(bad);
});
