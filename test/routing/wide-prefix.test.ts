/** A VM that routes for a wide prefix may send in the name of every host in it, and of nothing that is no host's. */
import { expect, test } from 'vitest';
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
import { dirtyStorage, putFrame } from '../support/slots.ts';
import { A, B, udpFrame } from '../support/traffic.ts';

test.each([
  ['198.51.100.7', 1],
  ['127.0.0.1', drop('spoofed')],
  ['224.0.0.1', drop('spoofed')],
  ['240.0.0.1', drop('spoofed')],
  ['255.255.255.255', drop('spoofed')],
])('from %s', (source, verdict) => {
  const storage = dirtyStorage();
  const plan = lanPlan([
    { addresses: [A.ip], prefixes: ['64.0.0.0/2', '128.0.0.0/1'] },
    { addresses: [B.ip] },
  ]);
  const network = new Network(plan.networks[0]);
  const ports = [A, B].map(({ ip, mac }, number) => {
    const port = new Port(number, plan.vms[number], keyOf(ip));
    port.setMac(parseMac(mac), 0);
    port.current = new Attachment(native);
    network.enter(port);
    return port;
  });
  const counters = new Counters(2);
  const router = new Router({
    storage,
    ports,
    adapters: [],
    networks: [network],
    counters,
    outbox: new Outbox(counters),
    ownerIsElsewhere: false,
    control: () => {},
  });
  putFrame(storage, udpFrame({ mac: A.mac, ip: source }, B.ip, Buffer.from('x')), {}, 0);
  router.route(1);
  expect(storage.to[0]).toBe(verdict);
});
