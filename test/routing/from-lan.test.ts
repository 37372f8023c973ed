/** Frames from the LAN: what came to everybody, or from nobody, goes to no VM and is not answered (RFC 1122 §3.3.6, RFC 1812 §5.3.4). */
import { expect, test } from 'vitest';
import { drop } from '../../src/routing/verdict.ts';
import { BROADCAST, ethernet, ETHERTYPE, ipv4, PROTOCOL, udp } from '../support/packets.ts';
import { routerWorld } from '../support/router-world.ts';
import { dirtyStorage, frameOf, putFrame } from '../support/slots.ts';

const MAC = '02:00:00:00:00:01';
const BEHIND = '10.99.0.5';
const OWN = '10.77.0.11';
/** Behind each datagram, as a wire has it behind a short one. */
const PADDING = Buffer.alloc(17, 0xee);

/** The frame as it was afterwards. */
let received: Buffer;

function world(prefixes = ['10.99.0.0/16']) {
  const storage = dirtyStorage();
  const vm = { addresses: [OWN], prefixes, mac: '52:54:00:00:00:11' };
  const router = routerWorld(storage, [vm], MAC);
  return (
    destinationMac: string,
    destination: string,
    sourceMac = '02:00:00:00:02:00',
    source = '10.77.0.200',
    options = Buffer.alloc(0),
  ) => {
    storage.clear();
    const bytes = ipv4(
      { source, destination, protocol: PROTOCOL.udp, ttl: 9, options },
      udp({ source, destination, sourcePort: 1, destinationPort: 2 }, Buffer.from('x')),
    );
    const frame = ethernet(
      { source: sourceMac, destination: destinationMac, type: ETHERTYPE.ipv4 },
      bytes,
    );
    putFrame(storage, Buffer.concat([frame, PADDING]), {}, 1);
    router.route(1);
    received = frameOf(storage, 0);
    return storage.to[0];
  };
}

test.each([OWN, BEHIND])('to %s, in a frame to all or to a group', (destination) => {
  const route = world();
  expect(route(MAC, destination)).toBe(0);
  for (const group of [BROADCAST, '01:00:5e:00:00:01', '03:bf:0a:4d:00:c8'])
    expect(route(group, destination), group).toBe(drop('notOurs'));
});

test('from a MAC that is no other station’s', () => {
  const route = world();
  for (const source of [BROADCAST, '01:00:5e:00:00:01', '00:00:00:00:00:00', MAC])
    for (const destination of [OWN, BEHIND, '10.77.0.1'])
      expect(route(MAC, destination, source), source).toBe(drop('martian'));
});

test.each(['10.77.0.0', '10.77.0.255', '127.0.0.1', '169.254.7.7', '224.0.0.1', '255.255.255.255'])(
  'from %s, which is no host’s address',
  (source) => {
    expect(world()(MAC, OWN, '02:00:00:00:02:00', source)).toBe(drop('martian'));
  },
);

test('to what is no host’s, though a VM’s wide prefix has it', () => {
  const route = world(['64.0.0.0/2', '128.0.0.0/1']);
  expect(route(MAC, '198.51.100.7')).toBe(0);
  for (const destination of [
    '127.0.0.1',
    '169.254.7.7',
    '224.0.0.1',
    '240.0.0.1',
    '255.255.255.255',
  ])
    expect(route(MAC, destination), destination).toBe(drop('martian'));
});

test('in the name of what is behind a VM', () => {
  const route = world();
  for (const destination of [OWN, BEHIND, '10.77.0.1'])
    expect(route(MAC, destination, undefined, '10.99.7.7'), destination).toBe(drop('spoofed'));
});

test('in the name of a VM or of the base itself', () => {
  const route = world();
  for (const source of [OWN, '10.77.0.1'])
    expect(route(MAC, BEHIND, undefined, source), source).toBe(drop('spoofed'));
});

test('padding goes to no VM', () => {
  const route = world();
  for (const [destination, options] of [
    [OWN, 0],
    [BEHIND, 4],
  ] as const) {
    expect(route(MAC, destination, undefined, undefined, Buffer.alloc(options, 1))).toBe(0);
    expect(received).toHaveLength(14 + 20 + options + 8 + 1);
  }
});

test('with a source route, or options in which one could hide', () => {
  const route = world();
  for (const options of ['8307040a4d000b00', '8907040a4d000b00', '07010000'])
    for (const destination of [OWN, BEHIND, '10.77.0.1'])
      expect(
        route(MAC, destination, undefined, undefined, Buffer.from(options, 'hex')),
        options,
      ).toBe(drop('ipOptions'));
});

test('to what is behind a VM the base is a hop, to the VM itself the wire', () => {
  const route = world();
  const timeToLive = () => received[14 + 8];
  expect([route(MAC, OWN), timeToLive()]).toEqual([0, 9]);
  expect([route(MAC, BEHIND), timeToLive()]).toEqual([0, 8]);
});
