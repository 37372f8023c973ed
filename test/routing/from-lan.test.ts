/** Frames from the LAN: what came to everybody, or from nobody, goes to no VM and is not answered (RFC 1122 §3.3.6, RFC 1812 §5.3.4). */
import { expect, test } from 'vitest';
import type { Adapter } from '../../src/adapter/adapter.ts';
import { Counters } from '../../src/counters.ts';
import { native } from '../../src/native.ts';
import { Attachment } from '../../src/port/attachment.ts';
import { Port } from '../../src/port/port.ts';
import { Network } from '../../src/routing/network.ts';
import { Router } from '../../src/routing/router.ts';
import { drop } from '../../src/routing/verdict.ts';
import { Outbox } from '../../src/storage/outbox.ts';
import { keyOf } from '../../src/wire/ipv4-address.ts';
import { parseMac } from '../../src/wire/mac.ts';
import { lanPlan } from '../support/lan-plan.ts';
import { BROADCAST, ethernet, ETHERTYPE, ipv4, PROTOCOL, udp } from '../support/packets.ts';
import { dirtyStorage, putFrame } from '../support/slots.ts';

const MAC = '02:00:00:00:00:01';
function world() {
  const storage = dirtyStorage();
  const plan = lanPlan([{ addresses: ['10.77.0.11'], prefixes: ['10.99.0.0/16'] }]);
  const network = new Network(plan.networks[0]);
  const [vm] = plan.vms;
  const port = new Port(0, vm, keyOf('10.77.0.11'));
  port.setMac(parseMac('52:54:00:00:00:11'), 0);
  port.current = new Attachment(native);
  network.enter(port);
  const counters = new Counters(2);
  const adapter = {
    port: 1,
    record: counters.base(1),
    mac: parseMac(MAC),
    mtu: 1500,
    state: 'open',
    plan: { network: 0 },
  } as unknown as Adapter;
  network.adapter = adapter;
  const router = new Router({
    storage,
    ports: [port],
    adapters: [adapter],
    networks: [network],
    counters,
    outbox: new Outbox(counters),
    ownerIsElsewhere: false,
    control: () => {},
  });
  return (destinationMac: string, destination: string, sourceMac = '02:00:00:00:02:00') => {
    storage.clear();
    const source = '10.77.0.200';
    const bytes = ipv4(
      { source, destination, protocol: PROTOCOL.udp, ttl: 9 },
      udp({ source, destination, sourcePort: 1, destinationPort: 2 }, Buffer.from('x')),
    );
    putFrame(
      storage,
      ethernet({ source: sourceMac, destination: destinationMac, type: ETHERTYPE.ipv4 }, bytes),
      {},
      1,
    );
    router.route(1);
    return storage.to[0];
  };
}

const BEHIND = '10.99.0.5';
const OWN = '10.77.0.11';

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
