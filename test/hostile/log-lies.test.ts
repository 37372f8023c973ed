/** Dirty logs that are too small, wrap, end early or are truncated later; log addresses that lie. Nobody but the liar suffers. */
import { describe, expect, test } from 'vitest';
import { native } from '../../src/native.ts';
import { DirtyLogArea } from '../support/dirty-log.ts';
import { useFixture } from '../support/fixture.ts';
import { BOTH_FORMATS, FORMATS } from '../support/formats.ts';
import { ConnectionClosed } from '../support/frontend.ts';
import { FEATURE, REQUEST } from '../support/protocol.ts';
import { A, B, udpFrame } from '../support/traffic.ts';
import { until } from '../support/until.ts';
import type { Vm } from '../support/vm.ts';

const SIZES: [string, bigint, bigint][] = [
  ['offset wraps', 0x1000n, 0xffff_ffff_ffff_f000n],
  ['offset plus size wraps', (1n << 64n) - 4096n, 8192n],
  ['size 0', 0n, 0n],
  ['size 2^63', 1n << 63n, 0n],
  ['beyond the end of the file', 1n << 30n, 0n],
  ['offset beyond the end of the file', 4096n, 1n << 30n],
];

const fixture = useFixture(BOTH_FORMATS);

describe.each(FORMATS)('the dirty log lies: $format', ({ packed }) => {
  async function share(a: Vm, descriptor: number, size: bigint, offset: bigint): Promise<bigint> {
    const payload = Buffer.alloc(16);
    payload.writeBigUInt64LE(BigInt.asUintN(64, size), 0);
    payload.writeBigUInt64LE(offset, 8);
    return a.frontEnd.askNumber(REQUEST.SET_LOG_BASE, payload, { descriptors: [descriptor] });
  }

  /** With LOG_ALL on, whatever was shared: datagrams still flow, or the connection is closed. */
  async function survives(a: Vm): Promise<void> {
    try {
      await a.frontEnd.setFeatures(a.features | FEATURE.LOG_ALL);
      for (const index of [0, 1]) {
        const queue = a.queues[index];
        await a.frontEnd.setVringAddress({
          index,
          flags: 1,
          descriptors: a.memory.userAddress(queue.descriptorsAt),
          available: a.memory.userAddress(queue.availableAt),
          used: a.memory.userAddress(queue.usedAt),
          log: (1n << 64n) - 8n,
        });
      }
      await a.frontEnd.getFeatures();
      a.transmitQueue().kick();
      await fixture().flow.advance();
    } catch (error) {
      if (!(error instanceof ConnectionClosed)) throw error;
    }
  }

  for (const [name, size, offset] of SIZES) {
    test(name, async () => {
      const a = await fixture().attacker({ packed });
      const descriptor = native.memfd('dirty-log', 1 << 20, false);
      try {
        const mappings = fixture().daemon.residentBytes();
        // Its answer is data, so it can only be refused by closing.
        await expect(share(a, descriptor, size, offset)).rejects.toThrow(ConnectionClosed);
        expect(fixture().daemon.residentBytes() - mappings).toBeLessThan(64 << 20);
      } finally {
        native.closeDescriptor(descriptor);
      }
      a.close();
      await fixture().goodPasses(await fixture().attacker({ packed }));
    });
  }

  test('longer than any view: refused, nothing stays mapped', async () => {
    const mappings = fixture().daemon.guestMappings().length;
    const descriptor = native.memfd('guest-memory', 2 ** 31, false);
    try {
      for (let i = 0; i < 3; i++) {
        const a = await fixture().attacker({ packed });
        await expect(share(a, descriptor, 1n << 31n, 0n)).rejects.toThrow(ConnectionClosed);
        a.close();
      }
    } finally {
      native.closeDescriptor(descriptor);
    }
    await until('the mappings to be gone', () => {
      return fixture().daemon.guestMappings().length <= mappings;
    });
    await fixture().goodPasses(await fixture().attacker({ packed }));
  });

  test('a log shared twice is mapped once, and gone with the connection', async () => {
    const { daemon } = fixture();
    const before = daemon.guestMappings().length;
    const a = await fixture().attacker({ packed });
    const own = daemon.guestMappings().length;
    // By its name it counts as memory of a guest.
    const descriptor = native.memfd('guest-memory', 1 << 20, false);
    try {
      for (let times = 0; times < 2; times++) await share(a, descriptor, 1n << 20n, 0n);
      await until('one more mapping', () => daemon.guestMappings().length === own + 1);
    } finally {
      native.closeDescriptor(descriptor);
    }
    a.close();
    await daemon.untilMappings(before);
    await fixture().goodPasses(await fixture().attacker({ packed }));
  });

  // QEMU's are no longer than the memory.
  test.each([8 << 20, (8 << 20) + 4096])(
    'a log that ends before %i bytes of memory do: closed',
    async (bytes) => {
      const top = 0x4000_0000 + bytes;
      const a = await fixture().attacker({
        packed,
        memory: { regions: [{ guestAddress: 0x4000_0000, bytes }] },
      });
      const log = new DirtyLogArea(top);
      try {
        const size = Math.ceil(top / 4096 / 8);
        expect(await log.share(a.frontEnd, size)).toBe(0n);
        await expect(log.share(a.frontEnd, size - 1)).rejects.toThrow(ConnectionClosed);
      } finally {
        log.close();
      }
      a.close();
      await fixture().goodPasses(await fixture().attacker({ packed }));
    },
  );

  test('memory added behind the end of the log: written to, not marked', async () => {
    const a = await fixture().attacker({ packed, receiveBuffers: 0 });
    const log = new DirtyLogArea(1 << 24);
    try {
      expect(await log.share(a.frontEnd)).toBe(0n);
      const region = a.memory.add({ guestAddress: 0x1_0000_0000, bytes: 0x10000 });
      expect(await a.frontEnd.addRegion(region)).toBe(0n);
      await survives(a);
      const queue = a.receiveQueue();
      const chain = queue.add([{ room: 2000 }])!;
      queue.rewrite(chain, 0, { address: BigInt(region.at) });
      queue.publish();
      await fixture().b.send(udpFrame(B, A.ip, Buffer.from('unmarked')));
      await until('the datagram', () => queue.usedCount === 1);
      expect(region.bytes.includes('unmarked')).toBe(true);
      await fixture().goodPasses(a);
    } finally {
      log.close();
    }
  });

  test('truncated while it is in use', async () => {
    const a = await fixture().attacker({ packed });
    const descriptor = native.memfd('dirty-log', 1 << 20, false);
    try {
      const before = await fixture().daemon.count('a', 'memoryFaults');
      await share(a, descriptor, 1n << 20n, 0n);
      await survives(a);
      expect(native.truncate(descriptor, 0)).toBe(0);
      await fixture().b.send(udpFrame(B, A.ip, Buffer.from('to be marked')));
      await fixture().daemon.untilCount('a', 'memoryFaults', before + 1);
      await fixture().daemon.untilState('a', 'waiting');
    } finally {
      native.closeDescriptor(descriptor);
    }
    a.close();
    await fixture().goodPasses(await fixture().attacker({ packed }));
  });
});
