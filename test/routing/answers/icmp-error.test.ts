import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { icmpError, mayReport } from '../../../src/routing/answers/icmp-error.ts';
import { UNDECIDED } from '../../../src/routing/verdict.ts';
import * as icmp from '../../../src/wire/icmp.ts';
import { keyOf } from '../../../src/wire/ipv4-address.ts';
import { parseMac } from '../../../src/wire/mac.ts';
import { PLAIN } from '../../support/net-header.ts';
import { offloadedTcp, pattern } from '../../support/offload-frames.ts';
import * as packets from '../../support/packets.ts';
import { dirtyStorage, expectBytes, frameOf, headerOf, putFrame } from '../../support/slots.ts';

const GUEST = { mac: '52:54:00:00:00:11', ip: '10.77.0.11' };
const BASE = { mac: '02:00:0a:4d:00:01', ip: '10.77.0.1' };

interface Told {
  ip?: Partial<packets.Ipv4Fields>;
  source?: string;
  destination?: string;
  payload?: Buffer;
}

function datagram({ ip, source, destination, payload }: Told = {}): Buffer {
  return packets.ethernet(
    {
      source: source ?? GUEST.mac,
      destination: destination ?? BASE.mac,
      type: packets.ETHERTYPE.ipv4,
    },
    packets.ipv4(
      { source: GUEST.ip, destination: '192.0.2.9', protocol: 17, ttl: 1, ...ip },
      payload ?? pattern(40),
    ),
  );
}

function report(frame: Buffer, type = 11, code = 0, rest = 0, mtu = 1500) {
  const storage = dirtyStorage(1 << 17, 4);
  const slot = putFrame(storage, frame, { flags: 1, checksumStart: 34, checksumOffset: 6 });
  const key = keyOf(BASE.ip);
  const error = icmpError(storage, slot, type, code, rest, key, parseMac(BASE.mac), mtu);
  return { storage, slot, error };
}

describe('the error', () => {
  test.each([
    ['network unreachable', icmp.UNREACHABLE, icmp.NET_UNREACHABLE, 0],
    ['host unreachable', icmp.UNREACHABLE, icmp.HOST_UNREACHABLE, 0],
    ['fragmentation needed', icmp.UNREACHABLE, icmp.FRAGMENTATION_NEEDED, 1400],
    ['protocol unreachable', icmp.UNREACHABLE, icmp.PROTOCOL_UNREACHABLE, 0],
    ['port unreachable', icmp.UNREACHABLE, icmp.PORT_UNREACHABLE, 0],
    ['time to live exceeded', icmp.TIME_EXCEEDED, icmp.TTL_EXCEEDED, 0],
  ])('%s', (_name, type, code, rest) => {
    const frame = datagram();
    const { storage, slot, error } = report(frame, type, code, rest);
    expect(error).toBe(1);
    expectBytes(frameOf(storage, slot), frame);
    expect(storage.from[error]).toBe(-1);
    expect(storage.to[error]).toBe(UNDECIDED);
    expect(headerOf(storage, error)).toEqual(PLAIN);
    const parsed = packets.parse(frameOf(storage, error));
    expect(parsed.problems).toEqual([]);
    expect(parsed).toMatchObject({ source: BASE.mac, destination: GUEST.mac, type: 0x0800 });
    expect(parsed.ip).toMatchObject({
      source: BASE.ip,
      destination: GUEST.ip,
      protocol: 1,
      ttl: 64,
      tos: 0xc0,
      headerLength: 20,
    });
    expect(parsed.icmp).toMatchObject({ type, code, rest });
    // The next-hop MTU stands in the lower half (RFC 1191 §4).
    expect(frameOf(storage, error).readUInt16BE(40)).toBe(rest);
  });

  test('quotes the datagram as received, up to 576 bytes in all', () => {
    fc.assert(
      fc.property(fc.nat(1500), fc.nat(10), fc.nat(20), (length, options, padding) => {
        const frame = datagram({
          payload: pattern(length),
          ip: { options: Buffer.alloc(options * 4, 1) },
        });
        const { storage, error } = report(Buffer.concat([frame, Buffer.alloc(padding, 0x5a)]));
        const parsed = packets.parse(frameOf(storage, error));
        expect(parsed.problems).toEqual([]);
        const quote = parsed.icmp?.payload ?? Buffer.alloc(0);
        expect(quote.length).toBe(Math.min(frame.length - 14, 548));
        expect(parsed.ip?.totalLength).toBe(28 + quote.length);
        expectBytes(quote, frame.subarray(14, 14 + quote.length));
      }),
    );
  });

  test.each([
    [0, 68],
    [68, 68],
    [575, 575],
    [576, 576],
    [577, 576],
    [65_521, 576],
  ])('is no longer than a way back of %i bytes takes', (mtu, length) => {
    const frame = datagram({ payload: pattern(1480) });
    const { storage, error } = report(frame, 3, 4, mtu, mtu);
    const parsed = packets.parse(frameOf(storage, error));
    expect(parsed.problems).toEqual([]);
    expect(parsed.ip?.totalLength).toBe(length);
    expectBytes(parsed.icmp?.payload ?? Buffer.alloc(0), frame.subarray(14, 14 + length - 28));
  });

  test('about a datagram of 64 KiB that was still to be segmented', () => {
    const { frame } = offloadedTcp({ payload: pattern(65_000), gsoSize: 1460 });
    const { storage, error } = report(frame, 3, 4, 1400);
    expect(frameOf(storage, error).length).toBe(590);
  });

  test('storage full', () => {
    const storage = dirtyStorage(256, 9);
    const slot = putFrame(storage, datagram());
    const tell = () => icmpError(storage, slot, 11, 0, 0, keyOf(BASE.ip), parseMac(BASE.mac), 1500);
    expect(tell()).toBe(1);
    expect(tell()).toBe(-1);
    expect(storage.count).toBe(2);
  });
});

describe('no error', () => {
  const may = (told: Told) => {
    const storage = dirtyStorage(1 << 17, 4);
    const slot = putFrame(storage, datagram(told));
    return mayReport(storage, slot);
  };
  const icmpOf = (type: number): Told => ({
    ip: { protocol: 1 },
    payload: packets.icmp({ type }, pattern(28)),
  });

  test.each<[string, Told]>([
    ['destination unreachable', icmpOf(3)],
    ['source quench', icmpOf(4)],
    ['redirect', icmpOf(5)],
    ['time exceeded', icmpOf(11)],
    ['parameter problem', icmpOf(12)],
    ['an ICMP type nobody knows', icmpOf(200)],
    ['ICMP without its type', { ip: { protocol: 1 }, payload: Buffer.alloc(0) }],
    ['a later fragment', { ip: { fragmentOffset: 1, flags: 1 } }],
    ['the last fragment', { ip: { fragmentOffset: 8191, flags: 0 } }],
    ['a broadcast frame', { destination: packets.BROADCAST }],
    ['a multicast frame', { destination: '01:00:5e:00:00:01' }],
    ['a frame from a group', { source: '01:00:5e:00:00:01' }],
    ['to 255.255.255.255', { ip: { destination: '255.255.255.255' } }],
    ['to a group', { ip: { destination: '224.0.0.251' } }],
    ['to the last group', { ip: { destination: '239.255.255.250' } }],
    ['from 0.0.0.0', { ip: { source: '0.0.0.0' } }],
    ['from 0.1.2.3', { ip: { source: '0.1.2.3' } }],
    ['from 127.0.0.1', { ip: { source: '127.0.0.1' } }],
    ['from a group', { ip: { source: '224.0.0.1' } }],
    ['from a reserved address', { ip: { source: '240.0.0.1' } }],
    ['from 255.255.255.255', { ip: { source: '255.255.255.255' } }],
  ])('about %s', (_name, told) => {
    expect(may(told)).toBe(false);
  });

  test.each<[string, Told]>([
    ['UDP', {}],
    ['TCP', { ip: { protocol: 6 } }],
    ['the first fragment', { ip: { flags: 1 } }],
    ['a ping', icmpOf(8)],
    ['a ping’s answer', icmpOf(0)],
    ['a datagram without data', { payload: Buffer.alloc(0) }],
    ['a reserved destination', { ip: { destination: '240.0.0.1' } }],
    ['a later protocol', { ip: { protocol: 132 } }],
  ])('but about %s', (_name, told) => {
    expect(may(told)).toBe(true);
  });
});

test('no error about ICMP without its type byte, whatever follows as padding', () => {
  const storage = dirtyStorage();
  const empty = datagram({ ip: { protocol: 1 }, payload: Buffer.alloc(0) });
  const query = Buffer.alloc(26, icmp.ECHO_REQUEST);
  expect(mayReport(storage, putFrame(storage, Buffer.concat([empty, query])))).toBe(false);
});
