/**
 * Ranked case 23: input buffers too small, of the wrong direction, or malformed. A datagram is delivered whole or not at all, and
 * unusable buffers come back, so that a good one behind them is used.
 */
import { describe, expect, test } from 'vitest';
import { type Chain, DESC, type DescriptorFields, type DriverQueue } from '../support/driver.ts';
import { useFixture } from '../support/fixture.ts';
import { BOTH_FORMATS, FORMATS } from '../support/formats.ts';
import { parse } from '../support/packets.ts';
import { FEATURE } from '../support/protocol.ts';
import { A, B, forwarded, udpFrame } from '../support/traffic.ts';
import { until } from '../support/until.ts';
import { LINUX_FEATURES, PLAIN_FEATURES, type Vm } from '../support/vm.ts';

const MERGEABLE = LINUX_FEATURES;
const SINGLE = PLAIN_FEATURES;

const fixture = useFixture(BOTH_FORMATS);

describe.each(FORMATS)('odd input buffers: $format', ({ packed }) => {
  async function receiver(features: bigint): Promise<Vm> {
    return fixture().attacker({ features, packed, receiveBuffers: 0 });
  }

  function offer(a: Vm, ...rooms: number[][]): void {
    const queue = a.receiveQueue();
    for (const chain of rooms) queue.add(chain.map((room) => ({ room })));
    queue.publish();
  }

  /** A datagram for a, from b. */
  async function datagram(text: string, size = 0): Promise<Buffer> {
    const payload = Buffer.concat([Buffer.from(text), Buffer.alloc(size)]);
    const frame = udpFrame(B, A.ip, payload);
    await fixture().b.send(frame);
    return forwarded(frame, A);
  }

  async function arrives(a: Vm, frame: Buffer): Promise<void> {
    await until('the datagram', () => a.received.length > 0 || a.pollReceived(false) > 0);
    expect(a.received.shift()!.frame.equals(frame)).toBe(true);
  }

  for (const room of [1, 11, 12]) {
    test(`buffers of ${room} bytes without mergeable ones: unusable, given back`, async () => {
      const a = await receiver(SINGLE);
      offer(a, [room], [room], [room], [2000]);
      const queue = a.receiveQueue();
      // each datagram may cost a drop until the good buffer is at the front
      let reached: Buffer | null = null;
      for (let i = 0; i < 8 && reached === null; i++) {
        const frame = await datagram(`try ${i}`);
        await fixture().b.untilSent();
        await fixture().flow.advance(2);
        reached = useful(a, queue, frame);
      }
      expect(reached, 'the good buffer was used').not.toBeNull();
    });
  }

  /** Takes used buffers; those that came back empty are skipped. The frame if a datagram came. */
  function useful(a: Vm, queue: DriverQueue, frame: Buffer): Buffer | null {
    for (let used = queue.take(); used !== null; used = queue.take()) {
      if (used.length === 0) continue;
      const got = queue.written(used).subarray(a.headerBytes);
      expect(parse(got).problems).toEqual([]);
      expect(got.length).toBe(frame.length);
      return got;
    }
    return null;
  }

  test('one byte too small without mergeable buffers: dropped, never cut', async () => {
    const a = await receiver(SINGLE);
    const size = udpFrame(B, A.ip, Buffer.alloc(500)).length;
    const before = (await fixture().daemon.vm('b')).drops.inputTooSmall;
    offer(a, [12 + size - 1]);
    await datagram('', 500);
    await fixture().daemon.untilCount('b', 'inputTooSmall', before + 1);
    // the small one fits the small buffer if it is still there, or the new one
    offer(a, [2000]);
    const small = await datagram('fits');
    await until('the small datagram', () => useful(a, a.receiveQueue(), small) !== null);
  });

  test('exactly as large as the datagram', async () => {
    const a = await receiver(SINGLE);
    const size = udpFrame(B, A.ip, Buffer.alloc(500)).length;
    offer(a, [12 + size], [12, size], [5, 7, size - 1, 1]);
    for (let i = 0; i < 3; i++) await arrives(a, await datagram('', 500));
  });

  for (const room of [13, 12]) {
    test(`mergeable buffers of ${room} bytes: delivered whole over as many as it takes`, async () => {
      const a = await receiver(MERGEABLE);
      offer(a, ...Array.from({ length: 120 }, () => [room]));
      const frame = await datagram('m');
      await arrives(a, frame);
      expect(a.receiveQueue().usedCount).toBe(Math.ceil((frame.length + 12) / room));
    });
  }

  test('mergeable buffers of one byte: too small for the header, given back, a good one is reached', async () => {
    const a = await receiver(MERGEABLE);
    const queue = a.receiveQueue();
    offer(a, ...Array.from({ length: 200 }, () => [1]));
    const first = await datagram('m');
    await fixture().b.untilSent();
    offer(a, [2000], [2000]);
    await datagram('later');
    let text = '';
    await until('a good buffer to be used', () => {
      text += collect(queue);
      return text.includes(first.subarray(42).toString('latin1')) || text.includes('later');
    });
  });

  function collect(queue: DriverQueue): string {
    let text = '';
    for (let used = queue.take(); used !== null; used = queue.take())
      text += queue.written(used).toString('latin1');
    return text;
  }

  test('half of the mergeable buffers that a datagram needs: nothing is published until there are enough', async () => {
    const a = await receiver(MERGEABLE);
    const queue = a.receiveQueue();
    offer(a, [300], [300]);
    const frame = await datagram('', 1200); // needs five of 300
    await fixture().b.untilSent();
    await fixture().flow.advance(50);
    expect(queue.usedCount).toBe(0);
    offer(a, [300], [300], [300], [300]); // one more than it needs
    const next = await datagram('next');
    // It waited in the backlog.
    await arrives(a, frame);
    await arrives(a, next);
  });

  type Spoil = (chain: Chain) => Partial<DescriptorFields>;
  const SPOILT: Record<string, Spoil> = {
    readable: () => ({ flags: 0 }),
    'outside memory': () => ({ address: 1n << 40n }),
    'in the hole': () => ({ address: 0xb0000 }),
    'an indirect table of 24 bytes': () => ({ length: 24, flags: DESC.indirect }),
    empty: () => ({ length: 0 }),
  };
  /** Packed rings have no `next`. */
  const SPOILT_NEXT: Record<string, Spoil> = {
    'a loop': ({ head }) => ({ length: 1, flags: DESC.write | DESC.next, next: head }),
    'next outside': () => ({ length: 1, flags: DESC.write | DESC.next, next: 9999 }),
  };
  for (const features of [MERGEABLE, SINGLE]) {
    for (const [name, spoil] of Object.entries(packed ? SPOILT : { ...SPOILT, ...SPOILT_NEXT })) {
      test(`${name}, ${features === SINGLE ? 'single' : 'mergeable'}: given back unused, the next is taken`, async () => {
        const a = await receiver(features);
        const queue = a.receiveQueue();
        const before = await fixture().daemon.count('a', 'badInputChains');
        const bad = queue.add([{ room: 2000 }])!;
        queue.rewrite(bad, 0, spoil(bad));
        queue.add([{ room: 2000 }]);
        queue.add([{ room: 2000 }]);
        queue.publish();
        const frame = await datagram('good');
        await fixture().b.untilSent();
        let reached: Buffer | null = null;
        await until('the good buffer', async () => {
          reached = useful(a, queue, frame);
          return reached !== null;
        });
        expect(reached!.equals(frame)).toBe(true);
        if (features === SINGLE || name !== 'empty') {
          await fixture().daemon.untilCount('a', 'badInputChains', before + 1);
        }
      });
    }
  }

  test('a buffer that is the ring itself: bounded, only its owner suffers', async () => {
    const a = await receiver(MERGEABLE);
    const queue = a.receiveQueue();
    const chain = queue.add([{ room: 2000 }])!;
    queue.rewrite(chain, 0, { address: packed ? queue.descriptorsAt : queue.availableAt });
    queue.publish();
    for (let i = 0; i < 20; i++) await datagram('over the ring', 300);
    await fixture().flow.advance(50);
    await a.stopRing(0);
    queue.reset();
    (a.options as { receiveBuffers: number }).receiveBuffers = 64;
    a.fillReceive();
    await a.startRing(0);
    // what waited meanwhile may come first
    await datagram('after');
    await until('the last datagram', () => {
      a.pollReceived();
      return a.received.some(({ frame }) => parse(frame).udp?.payload.toString() === 'after');
    });
  });

  test('more than 64 mergeable buffers for one datagram', async () => {
    const a = await receiver(MERGEABLE | FEATURE.MRG_RXBUF);
    offer(a, ...Array.from({ length: 100 }, () => [16]));
    const frame = await datagram('', 1200); // 1242 + 12 bytes: 79 buffers
    await arrives(a, frame);
    expect(a.receiveQueue().usedCount).toBe(Math.ceil((frame.length + 12) / 16));
  });

  test('good mergeable buffers and a bad one behind them: all go back empty, and the next are taken', async () => {
    const a = await receiver(MERGEABLE);
    const queue = a.receiveQueue();
    const before = await fixture().daemon.count('a', 'badInputChains');
    for (let i = 0; i < 3; i++) queue.add([{ room: 300 }]);
    const bad = queue.add([{ room: 300 }])!;
    queue.rewrite(bad, 0, { address: 1n << 40n });
    for (let i = 0; i < 5; i++) queue.add([{ room: 300 }]);
    queue.publish();
    const frame = await datagram('', 1200); // needs five of 300
    await fixture().daemon.untilCount('a', 'badInputChains', before + 4);
    await until('all to be used', () => queue.usedCount === 9);
    for (let i = 0; i < 4; i++) expect(queue.take()!.length).toBe(0);
    await arrives(a, frame);
  });
});
