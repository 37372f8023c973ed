/** What another turn worker handed over: which of it is believed, and what is decided here. */
import { expect, test } from 'vitest';
import { HandedColumns } from '../../src/routing/handed-columns.ts';
import { AT_ADAPTERS, BROADCAST_HERE, drop, HELD, IN_PIECES } from '../../src/routing/verdict.ts';
import { BASE } from '../../src/storage/outbox.ts';
import { dotted } from '../../src/wire/ipv4-address.ts';
import { BASE_IP, BASE_MAC } from '../support/daemon.ts';
import type { NetHeader } from '../support/net-header.ts';
import { parse } from '../support/packets.ts';
import { routerWorld } from '../support/router-world.ts';
import { dirtyStorage, frameOf, putFrame } from '../support/slots.ts';
import { A, B, udpFrame } from '../support/traffic.ts';

const ADAPTER = 2;
const NEXT_HOP = '10.77.0.254';
const text = Buffer.from('x');
/** Asks for a checksum in the middle of the payload. */
const LIE = { flags: 1, csumStart: 40, csumOffset: 2 };

/** Verdict for a frame that came with this entry, the frames that are there afterwards, and the next hop that the adapter was asked for. */
function route(
  frame: Buffer,
  from: number,
  to: number,
  header: Partial<NetHeader> = {},
  nextHop?: string,
) {
  const storage = dirtyStorage();
  let hop: string | null = null;
  const way = {
    resolve(_slot: number, key: number) {
      hop = dotted(key);
      return ADAPTER;
    },
  };
  const vms = [
    { addresses: [A.ip], mac: A.mac },
    { addresses: [B.ip], mac: B.mac },
  ];
  const router = routerWorld(storage, vms, '02:00:00:00:00:01', way, nextHop);
  const columns = new HandedColumns(16, 2, 3, () => true, true);
  router.expect(columns);
  putFrame(storage, frame, header, 3);
  columns.from[0] = from;
  columns.to[0] = to;
  router.route(1);
  const frames = Array.from({ length: storage.count }, (_, slot) => parse(frameOf(storage, slot)));
  return { verdict: storage.to[0], frames, hop };
}

test('a header that is none goes nowhere', () => {
  const frame = udpFrame(A, B.ip, text);
  frame[14] = 0x4f; // longer than the datagram
  for (const to of [1, AT_ADAPTERS])
    expect(route(frame, 0, to), `${to}`).toMatchObject({ verdict: drop('badIp'), hop: null });
});

test('what asks for an impossible offload goes nowhere', () => {
  const frame = udpFrame(A, B.ip, text);
  for (const to of [1, AT_ADAPTERS, ADAPTER])
    expect(route(frame, 0, to, LIE), `${to}`).toMatchObject({
      verdict: drop('badChecksumOffload'),
      hop: null,
    });
  expect(route(frame, 0, BROADCAST_HERE, LIE).verdict).toBe(HELD);
  expect(route(frame, 0, BROADCAST_HERE).verdict).toBe(BROADCAST_HERE);
});

test('a sender hears of it when its datagram is too large, though its worker did not know the MAC', () => {
  const sent = udpFrame(A, B.ip, Buffer.alloc(1600), { ip: { flags: 2 } });
  sent.fill(0xff, 0, 6); // to everybody
  const { verdict, frames } = route(sent, 0, 1);
  expect(verdict).toBe(drop('tooBig'));
  expect(frames[1].icmp).toMatchObject({ type: 3, code: 4 });
});

test('what the base says to a VM gets the MACs here', () => {
  const said = udpFrame({ mac: BASE_MAC, ip: BASE_IP }, B.ip, text);
  expect(route(said, BASE, 1)).toMatchObject({ verdict: 1, frames: [{ destination: B.mac }] });
});

test('what the base says to a host on the LAN goes there, or to the next hop', () => {
  const said = (destination: string) => udpFrame({ mac: BASE_MAC, ip: BASE_IP }, destination, text);
  const inside = said('10.77.0.200');
  const outside = said('192.0.2.1');
  expect(route(inside, BASE, ADAPTER, {}, NEXT_HOP)).toMatchObject({
    verdict: ADAPTER,
    hop: '10.77.0.200',
  });
  expect(route(outside, BASE, ADAPTER, {}, NEXT_HOP)).toMatchObject({
    verdict: ADAPTER,
    hop: NEXT_HOP,
  });
  expect(route(outside, BASE, ADAPTER)).toMatchObject({ verdict: drop('noRoute'), hop: null });
});

test('what is cut for a VM of another worker is counted against it for one turn, not for ever', () => {
  const storage = dirtyStorage(1 << 20, 8);
  const vms = [
    { addresses: [A.ip], mac: A.mac, worker: 1 },
    { addresses: [B.ip], mac: B.mac },
  ];
  const router = routerWorld(storage, vms);
  const columns = new HandedColumns(8, 2, 2, (vm) => vm === 1, true);
  router.expect(columns);
  const sent = udpFrame(A, B.ip, Buffer.alloc(4000), { ip: { flags: 0 } });
  for (let turn = 0; turn < 10; turn++) {
    storage.clear();
    const slot = putFrame(storage, sent, {}, 2);
    columns.from[slot] = 0;
    columns.to[slot] = 1;
    router.route(1);
    expect(storage.to[slot], `turn ${turn}`).toBe(IN_PIECES);
  }
});
