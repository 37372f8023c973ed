/** What is too large for who gets it and may be cut goes in pieces, each in the books; where base storage has no room for all of them, in none. */
import { expect, test } from 'vitest';
import { Counters } from '../../src/counters.ts';
import { drop, IN_PIECES } from '../../src/routing/verdict.ts';
import { GSO, HDR_FLAG } from '../support/net-header.ts';
import { ethernet, ETHERTYPE, ipv4, PROTOCOL, tcp } from '../support/packets.ts';
import { routerWorld } from '../support/router-world.ts';
import { dirtyStorage, putFrame } from '../support/slots.ts';
import { A } from '../support/traffic.ts';

const MAC = '02:00:00:00:00:01';
const VM = 0;
const ADAPTER = 1;

/** Routes a TCP datagram from the LAN that is to become 4 segments of 3 fragments each, or segments that need none; the VM takes neither whole. */
function route(slots: number, gsoSize = 3000) {
  const storage = dirtyStorage(1 << 20, slots);
  const counters = new Counters(2);
  const vms = [{ addresses: [A.ip], mac: A.mac }];
  const router = routerWorld(storage, vms, MAC, {}, undefined, { counters });
  const ends = { source: '10.77.0.200', destination: A.ip, sourcePort: 1, destinationPort: 2 };
  const segment = tcp({ ...ends, checksum: 'partial' }, Buffer.alloc(4 * 3000));
  const frame = ethernet(
    { source: '02:00:00:00:02:00', destination: MAC, type: ETHERTYPE.ipv4 },
    ipv4({ ...ends, protocol: PROTOCOL.tcp, flags: 0 }, segment),
  );
  const header = {
    flags: HDR_FLAG.needsCsum,
    gsoType: GSO.tcpv4,
    headerLength: 54,
    gsoSize,
    checksumStart: 34,
    checksumOffset: 16,
  };
  putFrame(storage, frame, header, ADAPTER);
  const { fill } = storage;
  router.route(1);
  return { storage, fill, received: counters.get(ADAPTER, 'receivedDatagrams') };
}

test('segments, and their fragments', () => {
  const { storage, received } = route(1 + 4 + 12);
  const verdicts = [...storage.to.subarray(0, storage.count)];
  expect(verdicts).toEqual([...Array(5).fill(IN_PIECES), ...Array(12).fill(VM)]);
  expect(received, 'besides the whole one').toBe(4 + 12);
});

test('room for the segments and not for all of their fragments: nothing of it stays', () => {
  for (let slots = 1; slots < 1 + 4 + 12; slots++) {
    const { storage, fill, received } = route(slots);
    expect(storage.to[0], `${slots} slots`).toBe(drop('storageFull'));
    expect([storage.count, storage.fill, received], `${slots} slots`).toEqual([1, fill, 0]);
  }
});

test('no room for all segments of a VM that takes none longer: none goes', () => {
  for (let slots = 1; slots < 1 + 12; slots++) {
    const { storage, fill, received } = route(slots, 1000);
    expect(storage.to[0], `${slots} slots`).toBe(drop('storageFull'));
    expect([storage.count, storage.fill, received], `${slots} slots`).toEqual([1, fill, 0]);
  }
  expect(route(1 + 12, 1000).received).toBe(12);
});
