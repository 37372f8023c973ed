/** An ARP request of a VM that base storage has no room to answer is not counted as answered. */
import { expect, test } from 'vitest';
import { CONSUMED, drop } from '../../src/routing/verdict.ts';
import { arp, BROADCAST, ethernet, ETHERTYPE } from '../support/packets.ts';
import { routerWorld } from '../support/router-world.ts';
import { dirtyStorage, putFrame } from '../support/slots.ts';
import { A, B } from '../support/traffic.ts';

test.each([
  ['room for it', 2, CONSUMED],
  ['no room', 1, drop('storageFull')],
])('%s', (_, slots, verdict) => {
  const storage = dirtyStorage(1 << 16, slots);
  const router = routerWorld(storage, [{ addresses: [A.ip], mac: A.mac }]);
  const request = arp({ operation: 1, senderMac: A.mac, senderIp: A.ip, targetIp: B.ip });
  const header = { source: A.mac, destination: BROADCAST, type: ETHERTYPE.arp };
  putFrame(storage, ethernet(header, request), {}, 0);
  router.route(1);
  expect(storage.to[0]).toBe(verdict);
  expect(storage.count).toBe(slots);
});
