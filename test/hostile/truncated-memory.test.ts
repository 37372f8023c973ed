/**
 * Ranked case 1: a front-end shrinks the file of the memory that it shared. The next access raises SIGBUS; the port is closed, everybody
 * else goes on. Where the file can be sealed the base has done so, and the attempt fails.
 */
import { describe, expect, test } from 'vitest';
import { native } from '../../src/native.ts';
import { useFixture } from '../support/fixture.ts';
import { BOTH_FORMATS, FORMATS } from '../support/formats.ts';
import { REQUEST } from '../support/protocol.ts';
import { A, B, udpFrame } from '../support/traffic.ts';
import { untilSealed } from '../support/sealed.ts';
import { until } from '../support/until.ts';
import { QEMU_PROTOCOL_FEATURES, type Vm } from '../support/vm.ts';

const fixture = useFixture(BOTH_FORMATS);

async function closed(a: Vm, before: number): Promise<void> {
  await a.frontEnd.untilClosed();
  await fixture().daemon.untilCount('a', 'memoryFaults', before + 1);
  await fixture().daemon.untilState('a', 'waiting');
}

describe.each(FORMATS)('guest memory is truncated: $format', ({ packed }) => {
  const UNSEALABLE = { memory: { sealable: false }, packed };

  test('to nothing, then a kick', async () => {
    const a = await fixture().attacker(UNSEALABLE);
    await fixture().goodPasses(a);
    const before = await fixture().daemon.count('a', 'memoryFaults');
    expect(native.truncate(a.memory.regions[0].descriptor, 0)).toBe(0);
    a.transmitQueue().kick(); // the eventfd is no part of the memory
    await closed(a, before);
  });

  test('behind the rings, with a datagram that lies there', async () => {
    const a = await fixture().attacker(UNSEALABLE);
    await fixture().goodPasses(a);
    const before = await fixture().daemon.count('a', 'memoryFaults');
    const queue = a.transmitQueue();
    const last = a.memory.regions.at(-1)!;
    const address = last.at + last.length - 4096;
    const chain = queue.add([{ data: Buffer.alloc(100) }])!;
    queue.rewrite(chain, 0, { address, length: 100 });
    const bytes = Number(last.mapOffset) + last.length - 8192;
    expect(native.truncate(last.descriptor, bytes)).toBe(0);
    queue.publish(false);
    queue.kick();
    await closed(a, before);
  });

  test('while input buffers are being filled', async () => {
    const a = await fixture().attacker(UNSEALABLE);
    await fixture().goodPasses(a);
    const before = await fixture().daemon.count('a', 'memoryFaults');
    expect(native.truncate(a.memory.regions[0].descriptor, 0)).toBe(0);
    for (let i = 0; i < 50 && !a.frontEnd.closed; i++) {
      await fixture().b.send(udpFrame(B, A.ip, Buffer.from('into the void')));
      a.frontEnd.poll();
    }
    await closed(a, before);
  });

  test('ten times in a row', async () => {
    for (let i = 0; i < 10; i++) {
      const a = await fixture().attacker(UNSEALABLE);
      const before = await fixture().daemon.count('a', 'memoryFaults');
      native.truncate(a.memory.regions[0].descriptor, i * 4096);
      a.transmitQueue().kick();
      await closed(a, before);
      a.close();
    }
  });
});

describe('a file that could be truncated', () => {
  test('a sealable file has been sealed against it', async () => {
    const a = await fixture().attacker();
    // a region that only the base maps: our own mapping would have sealed it, too
    const descriptor = native.memfd('guest-memory', 2 << 20, true);
    try {
      const refused = await a.frontEnd.addRegion({
        descriptor,
        guestAddress: 0x1_0000_0000n,
        size: 1n << 20n,
        userAddress: 0x7e00_0000_0000n,
        mapOffset: 0n,
      });
      expect(refused).toBe(0n);
      await untilSealed(descriptor, 1 << 20);
      await fixture().goodPasses(a);
    } finally {
      native.closeDescriptor(descriptor);
    }
  });

  test('a file that ends before its region is refused', async () => {
    const a = await fixture().connectedAttacker();
    await a.frontEnd.negotiate(QEMU_PROTOCOL_FEATURES);
    const descriptor = native.memfd('guest-memory', 65536, false);
    try {
      for (const [size, mapOffset] of [
        [65537n, 0n],
        [4096n, 65536n],
        [65536n, 4096n],
        [4096n, 1n << 40n],
      ] as const) {
        const region = { descriptor, guestAddress: 0n, size, userAddress: 1n << 40n, mapOffset };
        expect(await a.frontEnd.addRegion(region)).not.toBe(0n);
      }
    } finally {
      native.closeDescriptor(descriptor);
    }
    await until('the connection to serve', async () => (await a.frontEnd.getFeatures()) > 0n);
    expect(await a.frontEnd.askNumber(REQUEST.GET_MAX_MEM_SLOTS)).toBe(509n);
  });
});
