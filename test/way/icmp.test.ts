/** What the base answers itself: echo to its address, and the ICMP errors of RFC 1812 and RFC 792. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { BASE_IP, BASE_MAC } from '../support/daemon.ts';
import { parse } from '../support/packets.ts';
import { A, B, echoFrame, THREE_VMS, udpFrame } from '../support/traffic.ts';
import { World } from '../support/world.ts';

const OTHER = { mac: '52:54:00:00:00:0d', ip: '10.78.0.10' };
const OTHER_BASE = '10.78.0.1';

describe('ICMP', () => {
  let world: World;
  beforeAll(async () => {
    world = await World.start({
      networks: {
        lan: { subnet: '10.77.0.0/24', address: BASE_IP, mac: BASE_MAC },
      },
      vms: {
        ...THREE_VMS,
        manager: { addresses: ['10.77.0.2'], management: true },
      },
      adapters: {
        uplink: { interface: 'bw-none0', network: 'lan', controllers: ['manager'] },
      },
    });
  });
  afterEach(() => world.release());
  afterAll(() => world?.close());

  test('an echo request to the base is answered, payload and all', async () => {
    const a = await world.vm('a');
    for (const size of [0, 1, 56, 1400]) {
      const payload = Buffer.alloc(size, 0xa5);
      await a.send(echoFrame(A, BASE_IP, size, payload));
      const reply = parse((await a.receive()).frame);
      expect(reply.problems).toEqual([]);
      expect(reply).toMatchObject({
        source: BASE_MAC,
        destination: A.mac,
        ip: { source: BASE_IP, destination: A.ip },
        icmp: { type: 0, code: 0, rest: 0x12340000 | size },
      });
      expect(reply.icmp?.payload.equals(payload)).toBe(true);
    }
    await world.balance();
  });

  test('a datagram for outside is refused while the adapter is closed', async () => {
    const a = await world.vm('a');
    const before = (await world.daemon.vm('a')).drops.adapterClosed;
    const sent = udpFrame(A, '192.0.2.1', Buffer.from('out'));
    await a.send(sent);
    const reply = parse((await a.receive()).frame);
    expect(reply.problems).toEqual([]);
    expect(reply).toMatchObject({
      source: BASE_MAC,
      destination: A.mac,
      ip: { source: BASE_IP, destination: A.ip },
      icmp: { type: 3, code: 0 },
    });
    // the datagram that caused it: its header and at least 8 bytes (RFC 792)
    const quoted = reply.icmp!.payload;
    expect(quoted.length).toBeGreaterThanOrEqual(28);
    expect(quoted.equals(sent.subarray(14, 14 + quoted.length))).toBe(true);
    await world.daemon.untilCount('a', 'adapterClosed', before + 1);
    await world.balance();
  });

  test('no ICMP error about an ICMP error, a broadcast or a later fragment', async () => {
    const a = await world.vm('a');
    const outside = '192.0.2.1';
    const quiet = [
      // an error of our own, port unreachable
      (() => {
        const frame = echoFrame(A, outside);
        frame[34] = 3;
        frame[35] = 3;
        frame.writeUInt16BE(0, 36);
        let sum = 0;
        for (let i = 34; i < frame.length; i += 2) sum += frame.readUInt16BE(i);
        while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
        frame.writeUInt16BE(~sum & 0xffff, 36);
        return frame;
      })(),
      udpFrame(A, outside, Buffer.alloc(64), { ip: { flags: 0, fragmentOffset: 100 } }),
    ];
    for (const frame of quiet) await a.send(frame);
    await a.send(echoFrame(A, BASE_IP, 77));
    expect(parse((await a.receive()).frame).icmp).toMatchObject({ type: 0, rest: 0x12340000 | 77 });
    await world.balance();
  });
});

describe('between two networks', () => {
  let world: World;
  beforeAll(async () => {
    world = await World.start({
      networks: {
        lan: { subnet: '10.77.0.0/24', address: BASE_IP, mac: BASE_MAC },
        other: { subnet: '10.78.0.0/24', address: OTHER_BASE },
      },
      vms: {
        a: { network: 'lan', addresses: [A.ip], mac: A.mac },
        b: { network: 'lan', addresses: [B.ip], mac: B.mac, prefixes: ['10.99.0.0/16'] },
        d: { network: 'other', addresses: [OTHER.ip], mac: OTHER.mac },
      },
    });
  });
  afterEach(() => world.release());
  afterAll(() => world?.close());

  test('within a subnet the TTL stays, even 1', async () => {
    const a = await world.vm('a');
    const b = await world.vm('b');
    for (const ttl of [64, 2, 1]) {
      await a.send(udpFrame(A, B.ip, Buffer.from('x'), { ip: { ttl } }));
      const got = parse((await b.receive()).frame);
      expect(got.problems).toEqual([]);
      expect(got.ip?.ttl).toBe(ttl);
    }
  });

  test('networks are isolated from each other', async () => {
    const a = await world.vm('a');
    const d = await world.vm('d');
    const before = (await world.daemon.vm('a')).drops.noRoute;
    await a.send(udpFrame(A, OTHER.ip, Buffer.from('across')));
    expect(parse((await a.receive()).frame)).toMatchObject({
      problems: [],
      icmp: { type: 3, code: 0 },
    });
    await world.daemon.untilCount('a', 'noRoute', before + 1);
    expect(d.receiveQueue().usedCount).toBe(0);
    await world.balance();
  });

  test('towards a prefix behind a VM the base is a hop: TTL goes down by one', async () => {
    const a = await world.vm('a');
    const b = await world.vm('b');
    for (const ttl of [64, 2]) {
      await a.send(udpFrame(A, '10.99.3.4', Buffer.from('behind'), { ip: { ttl } }));
      const got = parse((await b.receive()).frame);
      expect(got.problems).toEqual([]);
      expect(got.ip).toMatchObject({ source: A.ip, destination: '10.99.3.4', ttl: ttl - 1 });
    }
    const sent = udpFrame(A, '10.99.3.4', Buffer.from('too far'), { ip: { ttl: 1 } });
    await a.send(sent);
    const error = parse((await a.receive()).frame);
    expect(error).toMatchObject({
      problems: [],
      ip: { source: BASE_IP },
      icmp: { type: 11, code: 0 },
    });
    const quoted = error.icmp!.payload;
    expect(quoted.equals(sent.subarray(14, 14 + quoted.length))).toBe(true);
    await world.daemon.untilCount('a', 'ttlExpired', 1);
    // and back: what is behind b may come from b
    await b.send(udpFrame({ mac: B.mac, ip: '10.99.3.4' }, A.ip, Buffer.from('back')));
    const back = parse((await a.receive()).frame);
    expect(back).toMatchObject({ problems: [], ip: { source: '10.99.3.4', destination: A.ip } });
    await world.balance();
  });
});
