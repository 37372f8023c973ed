/**
 * Checksum and segmentation state travel with the datagram; where the receiver did not negotiate a capability the base does the
 * work, and no guest gets a header flag that it did not negotiate.
 */
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { BOTH_FORMATS, FORMATS } from '../support/formats.ts';
import { GSO, HDR_FLAG, type NetHeader } from '../support/net-header.ts';
import { parse, TCP_FLAG } from '../support/packets.ts';
import { FEATURE } from '../support/protocol.ts';
import { Random } from '../support/random.ts';
import { A, B, tcpFrame, udpFrame } from '../support/traffic.ts';
import { LINUX_FEATURES, PLAIN_FEATURES, type Vm } from '../support/vm.ts';
import { World } from '../support/world.ts';

const TCP_HEADERS = 14 + 20 + 20;
const UDP_CSUM: Partial<NetHeader> = {
  flags: HDR_FLAG.needsCsum,
  checksumStart: 34,
  checksumOffset: 6,
};
const TCP_CSUM: Partial<NetHeader> = {
  flags: HDR_FLAG.needsCsum,
  checksumStart: 34,
  checksumOffset: 16,
};
const tso = (size: number): Partial<NetHeader> => ({
  ...TCP_CSUM,
  gsoType: GSO.tcpv4,
  gsoSize: size,
  headerLength: TCP_HEADERS,
});

const BIG = { transmitBytes: 4096 };
const random = new Random(7);

let world: World;
beforeAll(async () => {
  world = await World.start(BOTH_FORMATS);
});
afterEach(() => world.release());
afterAll(() => world?.close());

describe.each(FORMATS)('offloads: $format', ({ packed }) => {
  let a: Vm;
  let b: Vm;

  async function both(features: bigint, receiver: object = {}): Promise<void> {
    a = await world.vm('a', { ...BIG, packed });
    b = await world.vm('b', { features, packed, ...receiver });
  }

  describe('a checksum that the sender left to the device', () => {
    test('is left to a receiver with GUEST_CSUM', async () => {
      await both(LINUX_FEATURES);
      await a.send(udpFrame(A, B.ip, random.bytes(999), { checksum: 'partial' }), {
        header: UDP_CSUM,
      });
      const { header, frame } = await b.receive();
      const got = parse(frame);
      expect(got.problems).toEqual([]);
      if (got.checksum === 'partial') {
        expect(header).toMatchObject({
          flags: 1,
          checksumStart: 34,
          checksumOffset: 6,
          gsoType: 0,
        });
      } else {
        expect(got.checksum).toBe('good'); // completed all the same: allowed, too
      }
      await world.balance();
    });

    for (const size of [0, 1, 2, 777, 1400]) {
      test(`is completed for a receiver without it: ${size} bytes`, async () => {
        await both(PLAIN_FEATURES);
        await a.send(udpFrame(A, B.ip, random.bytes(size), { checksum: 'partial' }), {
          header: UDP_CSUM,
        });
        await a.send(tcpFrame(A, B.ip, random.bytes(size), { checksum: 'partial' }), {
          header: TCP_CSUM,
        });
        for (let i = 0; i < 2; i++) {
          const { header, frame } = await b.receive();
          expect(parse(frame)).toMatchObject({ problems: [], checksum: 'good' });
          expect(header.flags & HDR_FLAG.needsCsum).toBe(0);
          expect(header.gsoType).toBe(0);
        }
      });
    }

    test('a UDP checksum that comes out as zero is sent as 0xffff', async () => {
      await both(PLAIN_FEATURES);
      // choose the last word so that the sum is 0xffff, whose complement is 0
      const payload = Buffer.alloc(4);
      for (let word = 0; word < 65536; word++) {
        payload.writeUInt16BE(word, 2);
        const frame = udpFrame(A, B.ip, payload);
        if (frame.readUInt16BE(40) === 0xffff) break;
      }
      await a.send(udpFrame(A, B.ip, payload, { checksum: 'partial' }), { header: UDP_CSUM });
      const { frame } = await b.receive();
      expect(frame.readUInt16BE(40)).toBe(0xffff);
      expect(parse(frame).checksum).toBe('good');
    });

    test('is refused from a sender that did not negotiate CSUM, or completed', async () => {
      a = await world.vm('a', { packed, features: PLAIN_FEATURES });
      b = await world.vm('b', { packed });
      const before = (await world.daemon.vm('a')).drops.badChecksumOffload;
      await a.send(udpFrame(A, B.ip, Buffer.alloc(50), { checksum: 'partial' }), {
        header: UDP_CSUM,
      });
      await a.send(udpFrame(A, B.ip, Buffer.from('end')));
      const { header, frame } = await b.receive();
      if (parse(frame).udp?.payload.toString() === 'end') {
        await world.daemon.untilCount('a', 'badChecksumOffload', before + 1);
      } else {
        // delivered: then either finished or marked as unfinished
        const { checksum } = parse(frame);
        expect(checksum === 'good' || (header.flags & HDR_FLAG.needsCsum) !== 0).toBe(true);
      }
      await world.balance();
    });
  });

  describe('a TCP datagram larger than the MTU', () => {
    test('is passed whole to a receiver with GUEST_TSO4 and mergeable buffers', async () => {
      await both(LINUX_FEATURES);
      const payload = random.bytes(40000);
      await a.send(tcpFrame(A, B.ip, payload, { checksum: 'partial', sequence: 99 }), {
        header: tso(1448),
      });
      const { header, frame, buffers } = await b.receive();
      const got = parse(frame);
      expect(got.problems).toEqual([]);
      expect(got.tcp?.payload.equals(payload)).toBe(true);
      expect(header).toMatchObject({
        gsoType: GSO.tcpv4,
        gsoSize: 1448,
        checksumStart: 34,
        checksumOffset: 16,
      });
      expect(header.flags & HDR_FLAG.needsCsum).toBe(1);
      expect(buffers).toBe(Math.ceil((frame.length + 12) / 2048));
      await world.balance();
    });

    test('is passed whole into single large buffers', async () => {
      await both(LINUX_FEATURES & ~FEATURE.MRG_RXBUF, {
        receiveBytes: 66000,
        queueSize: 64,
        memory: { regions: [{ guestAddress: 0x10000, bytes: 24 << 20 }] },
      });
      const payload = random.bytes(60000);
      await a.send(tcpFrame(A, B.ip, payload, { checksum: 'partial' }), { header: tso(1448) });
      const { frame, buffers } = await b.receive();
      expect(buffers).toBe(1);
      expect(parse(frame).tcp?.payload.equals(payload)).toBe(true);
    });

    const LACKS: Record<string, bigint> = {
      GUEST_TSO4: LINUX_FEATURES & ~FEATURE.GUEST_TSO4,
      'GUEST_TSO4 and GUEST_CSUM': PLAIN_FEATURES,
      'everything but mergeable buffers': PLAIN_FEATURES | FEATURE.MRG_RXBUF,
    };
    for (const [name, features] of Object.entries(LACKS)) {
      test(`is segmented for a receiver without ${name}`, async () => {
        await both(features);
        const payload = random.bytes(10000);
        const size = 1448;
        await a.send(
          tcpFrame(A, B.ip, payload, {
            checksum: 'partial',
            sequence: 0xfffff000, // wraps within
            flags: TCP_FLAG.ack | TCP_FLAG.psh | TCP_FLAG.fin,
            ip: { identification: 0xfffe },
          }),
          { header: tso(size) },
        );
        const pieces: Buffer[] = [];
        const count = Math.ceil(payload.length / size);
        for (let i = 0; i < count; i++) {
          const { header, frame } = await b.receive();
          const got = parse(frame);
          expect(got.problems).toEqual([]);
          expect(header.gsoType).toBe(0);
          if ((features & FEATURE.GUEST_CSUM) === 0n) {
            expect(header.flags).toBe(0);
            expect(got.checksum).toBe('good');
          } else {
            expect(got.checksum === 'good' || (header.flags & 1) !== 0).toBe(true);
          }
          expect(got.tcp?.sequence).toBe((0xfffff000 + i * size) >>> 0);
          expect(got.ip?.identification).toBe((0xfffe + i) & 0xffff);
          const last = i === count - 1;
          const flags = TCP_FLAG.ack | (last ? TCP_FLAG.psh | TCP_FLAG.fin : 0);
          expect(got.tcp?.flags).toBe(flags);
          expect(got.tcp?.payload.length).toBe(last ? payload.length % size : size);
          pieces.push(got.tcp!.payload);
        }
        expect(Buffer.concat(pieces).equals(payload)).toBe(true);
        await world.balance();
      });
    }

    test('keeps TCP options in every segment; CWR only in the first', async () => {
      await both(PLAIN_FEATURES);
      const options = Buffer.from('0101080a0011223344556677', 'hex');
      const payload = random.bytes(4000);
      await a.send(
        tcpFrame(A, B.ip, payload, {
          checksum: 'partial',
          tcpOptions: options,
          flags: TCP_FLAG.ack | TCP_FLAG.cwr,
        }),
        { header: { ...tso(1436), headerLength: TCP_HEADERS + 12, gsoType: GSO.tcpv4 | GSO.ecn } },
      );
      for (let i = 0; i < 3; i++) {
        const { frame } = await b.receive();
        const got = parse(frame);
        expect(got.problems).toEqual([]);
        expect(frame.subarray(14 + 40, 14 + 52).equals(options)).toBe(true);
        expect((got.tcp!.flags & TCP_FLAG.cwr) !== 0).toBe(i === 0);
      }
    });
  });

  test('a datagram longer than one buffer is spread over mergeable ones', async () => {
    a = await world.vm('a', { packed });
    b = await world.vm('b', { packed, receiveBytes: 100 });
    const frame = udpFrame(A, B.ip, random.bytes(1400));
    await a.send(frame);
    const got = await b.receive();
    expect(got.buffers).toBe(Math.ceil((frame.length + 12) / 100));
    expect(parse(got.frame).problems).toEqual([]);
  });

  test('DATA_VALID and other flags of a sender are not passed on', async () => {
    a = await world.vm('a', { packed });
    b = await world.vm('b', { packed, features: PLAIN_FEATURES | FEATURE.MRG_RXBUF });
    await a.send(udpFrame(A, B.ip, Buffer.alloc(20)), { header: { flags: 0xfe, buffers: 0xffff } });
    const { header } = await b.receive();
    expect(header).toMatchObject({ flags: 0, gsoType: 0, gsoSize: 0, buffers: 1 });
  });
});
