/**
 * Wrap bits of packed rings that lie (2.8.1): a descriptor that is neither available nor used, or that belongs to another lap, is left
 * alone, and so is a ring that was started in the wrong lap or place. The honest descriptor that comes later is taken.
 */
import { describe, expect, test } from 'vitest';
import { asPacked, PACKED, PackedQueue } from '../support/driver-packed.ts';
import { useFixture } from '../support/fixture.ts';
import { BOTH_FORMATS } from '../support/formats.ts';
import { A, B, udpFrame } from '../support/traffic.ts';
import type { Vm } from '../support/vm.ts';
import { heal } from './attack.ts';

const FRAME = Buffer.concat([Buffer.alloc(12), udpFrame(A, B.ip, Buffer.from('not now'))]);

const FLAGS: Record<string, (wrap: number) => number> = {
  'AVAIL and USED are both set': () => PACKED.avail | PACKED.used,
  'neither is set': () => 0,
  'available in the lap before': (wrap) => PackedQueue.available(wrap ^ 1),
};

describe('packed wrap bits lie', () => {
  const fixture = useFixture(BOTH_FORMATS);

  /** The attacker, at the start of a lap with this wrap bit. */
  async function attacker(wrap: number): Promise<Vm> {
    const a = await fixture().attacker({ packed: true, queueSize: 8 });
    const queue = asPacked(a.transmitQueue());
    while (queue.wrap !== wrap) await fixture().goodPasses(a);
    await a.untilSent();
    return a;
  }

  /** Kicked as often as it likes, the base takes nothing and writes nothing. */
  async function leftAlone(a: Vm): Promise<void> {
    const queue = a.transmitQueue();
    const ring = a.memory.bytes(queue.descriptorsAt, queue.ringBytes.descriptors);
    const before = Buffer.from(ring);
    for (let i = 0; i < 20; i++) {
      queue.kick();
      await fixture().flow.advance(1);
    }
    expect(ring.equals(before)).toBe(true);
    expect((await fixture().daemon.vm('a')).state).toBe('running');
  }

  for (const wrap of [1, 0]) {
    for (const [name, flags] of Object.entries(FLAGS)) {
      test(`${name}, in a lap with wrap bit ${wrap}`, async () => {
        const a = await attacker(wrap);
        const queue = asPacked(a.transmitQueue());
        const before = queue.readDescriptor(queue.position);
        a.memory.bytes(queue.slotsAt, FRAME.length).set(FRAME);
        queue.writeDescriptor(queue.position, {
          address: queue.slotsAt,
          length: FRAME.length,
          id: 0,
          flags: flags(wrap),
        });
        await leftAlone(a);
        queue.writeDescriptor(queue.position, before); // else we take it for used ourselves
        await fixture().goodPasses(a);
      });
    }

    test(`the base that it starts from has the wrong wrap bit, instead of ${wrap}`, async () => {
      const a = await attacker(wrap);
      const good = await a.stopRing(1);
      expect(a.trySend(udpFrame(A, B.ip, Buffer.from('waits')))).toBe(true);
      const lie = (good ^ 0x80008000) >>> 0;
      await a.startRing(1, lie);
      await leftAlone(a);
      expect(await a.stopRing(1), 'it has not moved').toBe(lie);
      await a.startRing(1, good);
      await fixture().flow.other(fixture().b);
      await fixture().goodPasses(a);
    });
  }

  test('the halves of a base disagree: the one of the available side counts', async () => {
    const a = await attacker(1);
    const good = await a.stopRing(1);
    for (const half of [0x0003_0000, 0x7fff_0000, 0xffff_0000]) {
      await a.startRing(1, ((good & 0xffff) | half) >>> 0);
      expect(await a.stopRing(1), 'nothing is in flight').toBe(good);
    }
    await a.startRing(1, good);
    await fixture().goodPasses(a);
  });

  test('the base lies in the middle of a chain that was used long ago: only its owner suffers', async () => {
    const a = await attacker(0);
    await a.stopRing(1);
    // descriptors that did not begin a chain still look available in the lap before
    for (const place of [1, 3, 5, 7]) {
      await a.startRing(1, ((place | 0x8000) * 0x10001) >>> 0);
      for (let i = 0; i < 5; i++) a.transmitQueue().kick();
      await fixture().flow.advance();
      await a.stopRing(1);
    }
    fixture().flow.others(fixture().b).length = 0;
    await heal(fixture(), a);
  });
});
