/** A VM that routes for a wide prefix may send in the name of every host in it, and of nothing that is no host's. */
import { expect, test } from 'vitest';
import { drop } from '../../src/routing/verdict.ts';
import { routerWorld } from '../support/router-world.ts';
import { dirtyStorage, putFrame } from '../support/slots.ts';
import { A, B, udpFrame } from '../support/traffic.ts';

test.each([
  ['198.51.100.7', 1],
  ['127.0.0.1', drop('spoofed')],
  ['169.254.7.7', drop('spoofed')],
  ['224.0.0.1', drop('spoofed')],
  ['240.0.0.1', drop('spoofed')],
  ['255.255.255.255', drop('spoofed')],
])('from %s', (source, verdict) => {
  const storage = dirtyStorage();
  const router = routerWorld(storage, [
    { addresses: [A.ip], prefixes: ['64.0.0.0/2', '128.0.0.0/1'], mac: A.mac },
    { addresses: [B.ip], mac: B.mac },
  ]);
  putFrame(storage, udpFrame({ mac: A.mac, ip: source }, B.ip, Buffer.from('x')), {}, 0);
  router.route(1);
  expect(storage.to[0]).toBe(verdict);
});
