/**
 * Two turn workers: what the receiver's worker makes of the datagrams of another worker's VM, segments and fragments, is bounded in each turn, and not in
 * all the time that the VM is there.
 */
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { GSO, HDR_FLAG, type NetHeader } from '../support/net-header.ts';
import { A, B, tcpFrame, THREE_VMS, udpFrame } from '../support/traffic.ts';
import { until } from '../support/until.ts';
import { PLAIN_FEATURES } from '../support/vm.ts';
import { World } from '../support/world.ts';

const EACH = 30;
const DATAGRAMS = 300;
const MSS = 1448;
/** Of which 48 bytes each are left for fragments. */
const SMALL_MTU = 68;
const UDP_BYTES = 48 * EACH - 8;

let world: World;
beforeAll(async () => {
  world = await World.start({ vms: THREE_VMS, datapath: { workers: 2 } });
});
afterEach(() => world.release());
afterAll(() => world?.close());

const segmented: Partial<NetHeader> = {
  flags: HDR_FLAG.needsCsum,
  checksumStart: 34,
  checksumOffset: 16,
  gsoType: GSO.tcpv4,
  gsoSize: MSS,
  headerLength: 54,
};

test.each<[string, Buffer, Partial<NetHeader>]>([
  ['segments', tcpFrame(A, B.ip, Buffer.alloc(MSS * EACH), { checksum: 'partial' }), segmented],
  ['fragments', udpFrame(A, B.ip, Buffer.alloc(UDP_BYTES), { ip: { flags: 0 } }), {}],
])('a VM gets any number of %s of another worker’s VM', async (kind, frame, header) => {
  const a = await world.vm('a', { transmitBytes: 4096 });
  const b = await world.vm('b', { features: PLAIN_FEATURES });
  if (kind === 'fragments') expect(await b.setMtu(SMALL_MTU)).toBe(0n);
  const { drops } = await world.daemon.vm('a');
  for (let count = 1; count <= DATAGRAMS; count++) {
    await a.send(frame, { header });
    await until(`${EACH} ${kind} of datagram ${count}`, () => {
      b.pollReceived();
      return b.received.length >= EACH;
    }).catch(async (error: Error) => {
      expect((await world.daemon.vm('a')).drops, error.message).toEqual(drops);
      throw error;
    });
    expect(b.received.splice(0).length).toBe(EACH);
  }
  await world.balance();
});
