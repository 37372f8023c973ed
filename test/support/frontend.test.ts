/**
 * The front-end for tests, proven against an independent back-end (DPDK's net_vhost) before it judges ours.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { DpdkBackEnd, TESTPMD } from './dpdk.ts';
import { FEATURE } from './protocol.ts';
import { Random } from './random.ts';
import { LINUX_FEATURES, PLAIN_FEATURES, Vm, type VmOptions } from './vm.ts';

const VARIANTS: [string, VmOptions][] = [
  ['as Linux has it', {}],
  ['with the least features', { features: PLAIN_FEATURES }],
  ['mergeable buffers of 256 bytes', { receiveBytes: 256 }],
  ['in order', { features: LINUX_FEATURES | FEATURE.IN_ORDER }],
  ['by a memory table', { protocolFeatures: 1n << 3n }],
  ['legacy, 10-byte header', { features: 0n }],
  ['packed rings', { packed: true }],
  [
    'packed rings, no event offsets',
    { packed: true, features: LINUX_FEATURES & ~FEATURE.EVENT_IDX },
  ],
  ['packed rings, in order', { packed: true, features: LINUX_FEATURES | FEATURE.IN_ORDER }],
  ['packed rings of 100 descriptors', { packed: true, queueSize: 100 }],
];

describe.skipIf(TESTPMD === null)('the front-end drives DPDK (needs dpdk-testpmd)', () => {
  let dpdk: DpdkBackEnd;
  beforeAll(async () => {
    dpdk = await DpdkBackEnd.start();
  }, 30000);
  afterAll(() => dpdk?.stop());

  for (const [name, options] of VARIANTS) {
    test(`frames go in and come out the same: ${name}`, { timeout: 30000 }, async () => {
      const a = await Vm.start(dpdk.socket(0), options);
      const b = await Vm.start(dpdk.socket(1), options);
      try {
        const random = new Random(1);
        // testpmd may start its forwarding later: the first frame is sent until it comes out
        await flushUntilForwarded(a, b);
        for (let i = 0; i < 600; i++) {
          const frame = random.bytes(random.between(60, 1500));
          await a.send(frame, {
            indirect: a.has(FEATURE.INDIRECT_DESC) && i % 3 === 0,
            layout: i % 2 === 0 ? [a.headerBytes, 30, 2000] : [a.headerBytes, 2000],
          });
          const got = await b.receive();
          expect(got.frame.equals(frame), `frame ${i}`).toBe(true);
        }
        await a.untilSent();
        const base = await a.stopRing(1);
        // of a packed ring DPDK answers the available half only
        expect(base & 0xffff).toBe(a.transmitQueue().nextBase & 0xffff);
        await a.startRing(1, base);
        const last = random.bytes(100);
        await a.send(last);
        expect((await b.receive()).frame.equals(last)).toBe(true);
      } finally {
        a.close();
        b.close();
      }
    });
  }
});

async function flushUntilForwarded(a: Vm, b: Vm): Promise<void> {
  const marker = Buffer.alloc(64, 0x55);
  let sent = 0;
  for (;;) {
    await a.send(marker);
    sent++;
    try {
      await b.receive(500);
      break;
    } catch (error) {
      if (sent > 20) throw error;
    }
  }
  b.received = [];
}
