/** What routing makes of a VM's frames that are for the VM itself, say who it is, or leave through an adapter. */
import { expect, test } from 'vitest';
import { Counters } from '../../src/counters.ts';
import { CONSUMED, drop } from '../../src/routing/verdict.ts';
import { Outbox } from '../../src/storage/outbox.ts';
import { dotted } from '../../src/wire/ipv4-address.ts';
import { BASE_MAC } from '../support/daemon.ts';
import { arp, BROADCAST, ETHERTYPE, ethernet, parse } from '../support/packets.ts';
import { routerWorld } from '../support/router-world.ts';
import { dirtyStorage, frameOf, putFrame } from '../support/slots.ts';
import { A, B, udpFrame } from '../support/traffic.ts';

const SECOND = '10.77.0.20';
const BEHIND = '10.99.0.5';
const OUTSIDE = '192.0.2.1';
const NEIGHBOUR = '10.77.0.200';
const NEXT_HOP = '10.77.0.254';
const ADAPTER_MAC = '02:00:00:00:00:01';
const VMS = [
  { addresses: [A.ip, SECOND], prefixes: ['10.99.0.0/16'], mac: A.mac },
  { addresses: [B.ip], mac: B.mac },
];
const text = Buffer.from('x');

/** The verdict for a frame of the first VM's, and how many slots were appended. */
function route(frame: Buffer): [number, number] {
  const storage = dirtyStorage();
  const router = routerWorld(storage, VMS);
  putFrame(storage, frame, {}, 0);
  router.route(1);
  return [storage.to[0], storage.count - 1];
}

const arpFrame = (operation: 1 | 2, targetIp: string) =>
  ethernet(
    { source: A.mac, destination: BROADCAST, type: ETHERTYPE.arp },
    arp({ operation, senderMac: A.mac, senderIp: A.ip, targetIp }),
  );

test('who asks for an address of its own, or behind it, gets no answer', () => {
  expect(route(arpFrame(1, B.ip))).toEqual([CONSUMED, 1]);
  for (const own of [A.ip, SECOND, BEHIND])
    expect(route(arpFrame(1, own)), own).toEqual([CONSUMED, 0]);
});

test('an ARP reply is taken and not answered', () => {
  expect(route(arpFrame(2, B.ip))).toEqual([CONSUMED, 0]);
});

test('to itself, to what is behind it, to the address of the subnet: goes nowhere, without an error', () => {
  for (const destination of [A.ip, SECOND, BEHIND, '10.77.0.0'])
    expect(route(udpFrame(A, destination, text)), destination).toEqual([drop('martian'), 0]);
});

test('a first frame from a MAC that is no station’s, or the base’s, teaches no MAC', () => {
  const storage = dirtyStorage();
  const router = routerWorld(storage, [{ addresses: [A.ip] }, VMS[1]]);
  const from = (mac: string) => {
    storage.clear();
    putFrame(storage, udpFrame({ mac, ip: A.ip }, B.ip, text), {}, 0);
    router.route(1);
    return storage.to[0];
  };
  for (const mac of [BROADCAST, '01:00:5e:00:00:01', '00:00:00:00:00:00', BASE_MAC])
    expect(from(mac), mac).toBe(drop('spoofed'));
  expect(from(A.mac)).toBe(1);
  expect(from(B.mac)).toBe(drop('spoofed'));
});

test('a VM whose MAC is unknown is asked for it five times a second at most', () => {
  const storage = dirtyStorage();
  const outbox = new Outbox(new Counters(2));
  const time = new Float64Array([1000]);
  const router = routerWorld(storage, [VMS[0], { addresses: [B.ip] }], undefined, {}, undefined, {
    outbox,
    time,
  });
  const asked = (milliseconds: number) => {
    time[0] = milliseconds;
    storage.clear();
    putFrame(storage, udpFrame(A, B.ip, text), {}, 0);
    router.route(1);
    expect(storage.to[0]).toBe(1);
    return outbox.length;
  };
  expect([1000, 1000, 1199, 1200, 1399].map(asked)).toEqual([1, 1, 1, 2, 2]);
});

/** What the adapter was given for a datagram to `destination`, as [next hop, TTL]; the verdict; the ICMP error that was appended. */
function leave(
  destination: string,
  ttl: number,
  nextHop: string | undefined,
  unanswered = false,
  failed = false,
) {
  const storage = dirtyStorage();
  let given: [string, number | undefined] | null = null;
  const way = {
    resolve(slot: number, hop: number) {
      given = [dotted(hop), parse(frameOf(storage, slot)).ip?.ttl];
      return unanswered ? drop('neighbourUnresolved') : 2;
    },
    neighbours: { failed: () => failed },
  };
  const router = routerWorld(storage, VMS, ADAPTER_MAC, way, nextHop);
  putFrame(storage, udpFrame(A, destination, text, { ip: { ttl } }), {}, 0);
  router.route(1);
  const icmp = storage.count > 1 ? parse(frameOf(storage, 1)).icmp : undefined;
  return { given, verdict: storage.to[0], error: icmp && [icmp.type, icmp.code] };
}

test('to a neighbour on the LAN the TTL stays, through the next hop it goes down by one', () => {
  expect(leave(NEIGHBOUR, 1, NEXT_HOP)).toEqual({ given: [NEIGHBOUR, 1], verdict: 2 });
  expect(leave(OUTSIDE, 2, NEXT_HOP)).toEqual({ given: [NEXT_HOP, 1], verdict: 2 });
  const expired = { given: null, verdict: drop('ttlExpired'), error: [11, 0] };
  for (const ttl of [1, 0]) expect(leave(OUTSIDE, ttl, NEXT_HOP)).toEqual(expired);
});

test('outside without a next hop: network unreachable', () => {
  const expected = { given: null, verdict: drop('noRoute'), error: [3, 0] };
  expect(leave(OUTSIDE, 64, undefined)).toEqual(expected);
});

test('only where the neighbour did not answer is its host unreachable', () => {
  const dropped = { given: [NEIGHBOUR, 64], verdict: drop('neighbourUnresolved') };
  expect(leave(NEIGHBOUR, 64, NEXT_HOP, true)).toEqual(dropped);
  expect(leave(NEIGHBOUR, 64, NEXT_HOP, true, true)).toEqual({ ...dropped, error: [3, 1] });
});
