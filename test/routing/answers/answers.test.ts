import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { arpReply, arpRequest, gratuitousArp } from '../../../src/routing/answers/arp.ts';
import { echoReply, isEchoRequest } from '../../../src/routing/answers/echo-reply.ts';
import {
  fragmentsFor,
  MAX_UDP_PAYLOAD,
  udpPacket,
} from '../../../src/routing/answers/udp-packet.ts';
import { UNDECIDED } from '../../../src/routing/verdict.ts';
import * as arpWire from '../../../src/wire/arp.ts';
import { keyOf } from '../../../src/wire/ipv4-address.ts';
import { parseMac } from '../../../src/wire/mac.ts';
import { PLAIN } from '../../support/net-header.ts';
import { pattern } from '../../support/offload-frames.ts';
import * as packets from '../../support/packets.ts';
import { dirtyStorage, expectBytes, frameOf, headerOf, putFrame } from '../../support/slots.ts';

const GUEST = { mac: '52:54:00:00:00:11', ip: '10.77.0.11' };
const BASE = { mac: '02:00:0a:4d:00:01', ip: '10.77.0.1' };
const baseMac = parseMac(BASE.mac);

describe('arpReply', () => {
  const request = packets.ethernet(
    { source: GUEST.mac, destination: packets.BROADCAST, type: packets.ETHERTYPE.arp },
    packets.arp({ operation: 1, senderMac: GUEST.mac, senderIp: GUEST.ip, targetIp: '10.77.0.12' }),
  );

  test.each([
    [false, 42],
    [true, 60],
  ])('padded: %s', (padded, length) => {
    const storage = dirtyStorage();
    const slot = putFrame(storage, request);
    const reply = arpReply(storage, slot, baseMac, padded);
    expect(reply).toBe(1);
    expect(storage.from[reply]).toBe(-1);
    expect(storage.to[reply]).toBe(UNDECIDED);
    expect(headerOf(storage, reply)).toEqual(PLAIN);
    expectBytes(frameOf(storage, slot), request);
    const frame = frameOf(storage, reply);
    expect(frame.length).toBe(length);
    expect(frame.subarray(42).every((byte) => byte === 0)).toBe(true);
    expect(packets.parse(frame)).toEqual({
      destination: GUEST.mac,
      source: BASE.mac,
      type: packets.ETHERTYPE.arp,
      arp: {
        operation: 2,
        senderMac: BASE.mac,
        senderIp: '10.77.0.12',
        targetMac: GUEST.mac,
        targetIp: GUEST.ip,
      },
      checksum: 'none',
      problems: [],
    });
    expect(arpWire.check(frame, 14, frame.length - 14)).toBe(true);
  });

  test('storage full', () => {
    const storage = dirtyStorage(128, 9);
    const slot = putFrame(storage, request);
    expect(arpReply(storage, slot, baseMac, false)).toBe(1);
    expect(arpReply(storage, slot, baseMac, false)).toBe(-1);
  });
});

test('arpRequest and gratuitousArp are whole packets for the outbox', () => {
  const read = (packet: Uint8Array) => {
    expect(packet.length).toBe(72);
    expect([...packet.subarray(0, 12)]).toEqual(Array(12).fill(0));
    expect([...packet.subarray(54)]).toEqual(Array(18).fill(0));
    return packets.parse(packet.subarray(12));
  };
  const expected = (senderIp: string, targetIp: string) => ({
    destination: packets.BROADCAST,
    source: BASE.mac,
    type: packets.ETHERTYPE.arp,
    arp: {
      operation: 1,
      senderMac: BASE.mac,
      senderIp,
      targetMac: '00:00:00:00:00:00',
      targetIp,
    },
    checksum: 'none',
    problems: [],
  });
  expect(read(arpRequest(baseMac, keyOf(BASE.ip), keyOf('10.77.0.254')))).toEqual(
    expected(BASE.ip, '10.77.0.254'),
  );
  expect(read(gratuitousArp(baseMac, keyOf(GUEST.ip)))).toEqual(expected(GUEST.ip, GUEST.ip));
});

describe('echo', () => {
  const echo = (
    ip: Partial<packets.Ipv4Fields> = {},
    payload: Uint8Array = pattern(56),
    fields = { type: 8, code: 0, rest: 0x01020304 },
  ) =>
    packets.ethernet(
      { source: GUEST.mac, destination: BASE.mac, type: packets.ETHERTYPE.ipv4 },
      packets.ipv4(
        { source: GUEST.ip, destination: BASE.ip, protocol: 1, ...ip },
        packets.icmp(fields, payload),
      ),
    );

  const is = (frame: Buffer) => {
    const storage = dirtyStorage();
    return isEchoRequest(storage, putFrame(storage, frame));
  };

  test('the reply says back what was asked', () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 200 }),
        fc.nat(0xffffffff),
        fc.integer({ min: 1, max: 255 }),
        fc.nat(255),
        fc.nat(0xffff),
        fc.nat(10),
        (payload, rest, ttl, tos, identification, options) => {
          const frame = echo(
            { ttl, tos, identification, options: Buffer.alloc(options * 4, 1) },
            payload,
            { type: 8, code: 0, rest },
          );
          const storage = dirtyStorage(4096, 4);
          const slot = putFrame(storage, Buffer.concat([frame, Buffer.from('padding')]), {
            flags: 2,
            buffers: 9,
          });
          expect(isEchoRequest(storage, slot)).toBe(true);
          echoReply(storage, slot, baseMac);
          expect(headerOf(storage, slot)).toEqual(PLAIN);
          expect(storage.from[slot]).toBe(3);
          const reply = packets.parse(frameOf(storage, slot));
          expect(reply.problems).toEqual([]);
          expect(reply.source).toBe(BASE.mac);
          expect(reply.destination).toBe(GUEST.mac);
          expect(reply.ip).toMatchObject({
            source: BASE.ip,
            destination: GUEST.ip,
            ttl: 64,
            tos,
            identification,
            totalLength: 28 + options * 4 + payload.length,
          });
          expect(reply.ip?.trailer.length).toBe(0);
          expect(reply.icmp).toMatchObject({ type: 0, code: 0, rest });
          expectBytes(reply.icmp?.payload ?? Buffer.alloc(0), payload);
        },
      ),
      { examples: [[Uint8Array.of(), 0, 1, 0, 0, 0]] }, // all zero but its type
    );
  });

  test('the other end’s MAC is the base’s own, whatever the frame was sent to', () => {
    const frame = echo();
    frame.fill(0xff, 0, 6);
    const storage = dirtyStorage();
    const slot = putFrame(storage, frame);
    echoReply(storage, slot, baseMac);
    expect(packets.parse(frameOf(storage, slot)).source).toBe(BASE.mac);
  });

  test('a damaged request stays damaged', () => {
    const frame = echo();
    frame[50] ^= 1;
    const storage = dirtyStorage();
    const slot = putFrame(storage, frame);
    echoReply(storage, slot, baseMac);
    expect(packets.parse(frameOf(storage, slot)).problems).toEqual(['ICMP checksum']);
  });

  test.each<[string, Buffer]>([
    ['a reply', echo({}, pattern(8), { type: 0, code: 0, rest: 1 })],
    ['another type', echo({}, pattern(8), { type: 13, code: 0, rest: 1 })],
    ['another code', echo({}, pattern(8), { type: 8, code: 1, rest: 1 })],
    ['a first fragment', echo({ flags: 1 })],
    ['a later fragment', echo({ flags: 0, fragmentOffset: 9 })],
    ['another protocol', echo({ protocol: 17 })],
    ['cut off by total length', echo({ totalLength: 27 })],
    ['from 0.0.0.0', echo({ source: '0.0.0.0' })],
    ['from a group', echo({ source: '224.0.0.1' })],
    ['from everybody', echo({ source: '255.255.255.255' })],
    ['from 127.0.0.1', echo({ source: '127.0.0.1' })],
  ])('%s is no echo request', (_name, frame) => {
    expect(is(frame)).toBe(false);
  });

  test('the shortest one is', () => expect(is(echo({}, pattern(0)))).toBe(true));
});

describe('udpPacket', () => {
  const source = { mac: baseMac, address: keyOf(BASE.ip), port: 7356 };
  const destination = { mac: parseMac(GUEST.mac), address: keyOf(GUEST.ip), port: 40000 };

  test.each([0, 1, 2, 1471, MAX_UDP_PAYLOAD])('%i bytes', (length) => {
    const payload = pattern(length);
    const packet = udpPacket(source, destination, payload);
    expect([...packet.subarray(0, 12)]).toEqual(Array(12).fill(0));
    const parsed = packets.parse(packet.subarray(12));
    expect(parsed.problems).toEqual([]);
    expect(parsed.checksum).toBe('good');
    expect(parsed).toMatchObject({ source: BASE.mac, destination: GUEST.mac, type: 0x0800 });
    expect(parsed.ip).toMatchObject({ source: BASE.ip, destination: GUEST.ip, ttl: 64, flags: 2 });
    expect(parsed.ip?.trailer.length).toBe(0);
    expect(parsed.udp).toMatchObject({ sourcePort: 7356, destinationPort: 40000 });
    expectBytes(parsed.udp?.payload ?? Buffer.alloc(0), payload);
  });

  test('in fragments, which are the whole together, where a wire takes no more', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 68, max: 1600 }),
        fc.integer({ min: 0, max: 1500 }),
        (mtu, length) => {
          const packet = udpPacket(source, destination, pattern(length));
          const whole = packets.parse(packet.subarray(12)).ip!;
          const fragments = fragmentsFor(packet, mtu, 0xbeef);
          if (whole.totalLength <= mtu) {
            expect(fragments).toEqual([packet]);
            return;
          }
          let end = 0;
          for (const [index, fragment] of fragments.entries()) {
            expect([...fragment.subarray(0, 12)]).toEqual(Array(12).fill(0));
            const { ip, problems, ...frame } = packets.parse(fragment.subarray(12));
            expect(problems).toEqual([]);
            expect(frame).toMatchObject({ source: BASE.mac, destination: GUEST.mac });
            expect(ip).toMatchObject({
              ...{ source: BASE.ip, destination: GUEST.ip, protocol: 17, ttl: 64 },
              ...{ identification: 0xbeef, fragmentOffset: end / 8 },
              flags: index === fragments.length - 1 ? 0 : 1,
            });
            expect(ip!.totalLength).toBeLessThanOrEqual(mtu);
            expectBytes(ip!.payload, whole.payload.subarray(end, end + ip!.payload.length));
            end += ip!.payload.length;
          }
          expect(end).toBe(whole.payload.length);
        },
      ),
    );
  });

  test('longer than IP allows', () => {
    const payload = new Uint8Array(MAX_UDP_PAYLOAD + 1);
    expect(() => udpPacket(source, destination, payload)).toThrow(RangeError);
  });
});
