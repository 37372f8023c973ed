/** Where rings begin again: the 16-bit indices of split ones, the end of packed ones with its wrap bits. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { asSplit } from '../support/driver-split.ts';
import { BOTH_FORMATS } from '../support/formats.ts';
import { parse } from '../support/packets.ts';
import { A, B, forwarded, udpFrame } from '../support/traffic.ts';
import { World } from '../support/world.ts';

const numbered = (number: number) => udpFrame(A, B.ip, Buffer.from(`number ${number}`));
const numberOf = (frame: Buffer) =>
  Number(/^number (\d+)$/.exec(parse(frame).udp!.payload.toString())![1]);

let world: World;
beforeAll(async () => {
  world = await World.start(BOTH_FORMATS);
});
afterEach(() => world.release());
afterAll(() => world?.close());

test('split rings: the index wraps at 65536 without a loss', async () => {
  const a = await world.vm('a', { queueSize: 256 });
  const b = await world.vm('b');
  // start near the wrap instead of sending 65536 datagrams
  for (const index of [0, 1]) await a.stopRing(index);
  const near = 65500;
  const queue = asSplit(a.transmitQueue());
  queue.next = near;
  queue.taken = near;
  queue.availableIndex = near;
  queue.publish(false);
  const used = new Uint16Array(1);
  used[0] = near;
  Buffer.from(used.buffer).copy(a.memory.bytes(queue.usedAt + 2, 2));
  queue.usedEvent = near;
  await a.startRing(1, near);
  for (let i = 0; i < 100; i++) {
    const frame = numbered(i);
    await a.send(frame);
    expect((await b.receive()).frame.equals(forwarded(frame, B))).toBe(true);
  }
  await a.untilSent();
  expect(queue.usedIndex).toBe((near + 100) & 0xffff);
});

describe('packed rings', () => {
  for (const queueSize of [3, 7, 100, 255]) {
    test(`of ${queueSize} descriptors go round many times, chains over their end included`, async () => {
      const a = await world.vm('a', { packed: true, queueSize });
      const b = await world.vm('b', { packed: true, queueSize });
      for (let i = 0; i < 150; i++) {
        const frame = numbered(i);
        await a.send(frame, { layout: i % 3 === 0 ? [12, 20, 2000] : [12, 2000] });
        expect((await b.receive()).frame.equals(forwarded(frame, B)), `${i}`).toBe(true);
      }
      await a.untilSent();
    });
  }

  test('go on from any position and wrap bit', async () => {
    const a = await world.vm('a', { packed: true, queueSize: 8 });
    const b = await world.vm('b', { packed: true, queueSize: 8 });
    const seen = new Set<number>();
    for (let i = 0; i < 60; i++) {
      const base = await a.stopRing(1);
      expect(base, 'both halves say where it stands').toBe(a.transmitQueue().nextBase);
      const receiveBase = await b.stopRing(0);
      expect(receiveBase).toBe(b.receiveQueue().usedBase);
      seen.add(base & 0xffff);
      // Whether the second half is given, as the specification has it, or not, as by some front-ends
      await a.startRing(1, i % 2 === 0 ? base : base & 0xffff);
      await b.startRing(0, receiveBase);
      await a.send(numbered(i), { layout: i % 3 === 0 ? [2000] : [12, 2000] });
      expect(numberOf((await b.receive()).frame)).toBe(i);
      await a.untilSent();
    }
    expect(seen.size, 'bases that it was started from').toBe(16);
  });
});
