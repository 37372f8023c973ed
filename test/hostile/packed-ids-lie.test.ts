/**
 * Buffer ids of packed rings that lie: beyond the ring, of buffers that are not there, the same again and again; and descriptors that are
 * made available a second time. An id means nothing to the base: it comes back as it was named, and each descriptor is taken once a lap.
 */
import { describe, expect, test } from 'vitest';
import { asPacked, PACKED, PackedQueue } from '../support/driver-packed.ts';
import { useFixture } from '../support/fixture.ts';
import { BOTH_FORMATS } from '../support/formats.ts';
import { parse } from '../support/packets.ts';
import { A, B, udpFrame } from '../support/traffic.ts';
import { until } from '../support/until.ts';
import type { Vm } from '../support/vm.ts';
import { heal } from './attack.ts';

const SIZE = 16;
const USED = PACKED.avail | PACKED.used;

describe('packed buffer ids lie', () => {
  const fixture = useFixture(BOTH_FORMATS);

  /** A VM that has sent nothing yet, with a datagram in its first slot. */
  async function attacker(text: string): Promise<{ a: Vm; queue: PackedQueue; length: number }> {
    const a = await fixture().attacker({ packed: true, queueSize: SIZE });
    const queue = asPacked(a.transmitQueue());
    const bytes = Buffer.concat([Buffer.alloc(12), udpFrame(A, B.ip, Buffer.from(text))]);
    a.memory.bytes(queue.slotsAt, bytes.length).set(bytes);
    return { a, queue, length: bytes.length };
  }

  async function arrives(text: string, count: number): Promise<void> {
    for (let i = 0; i < count; i++) {
      const { frame } = await fixture().flow.other(fixture().b);
      expect(parse(frame).udp?.payload.toString()).toBe(text);
    }
  }

  const IDS: Record<string, number[]> = {
    'beyond the ring': [SIZE, SIZE + 1, 999, 32768, 65535],
    'the same id five times': [3, 3, 3, 3, 3],
    'in any order': [7, 0, 15, 1, 9],
  };
  for (const [name, ids] of Object.entries(IDS)) {
    test(`${name}: delivered, and given back as named`, async () => {
      const { a, queue, length } = await attacker(name);
      ids.forEach((id, position) => {
        const flags = PackedQueue.available(1);
        queue.writeDescriptor(position, { address: queue.slotsAt, length, id, flags });
      });
      queue.kick();
      await arrives(name, ids.length);
      for (const [position, id] of ids.entries()) {
        await until(
          'it to come back',
          () => (queue.readDescriptor(position).flags & USED) === USED,
        );
        expect(queue.readDescriptor(position)).toMatchObject({ id, length: 0 });
      }
      await heal(fixture(), a);
    });
  }

  test('a whole ring of one buffer, made available in each lap before anything was taken back', async () => {
    const { a, queue, length } = await attacker('again');
    for (const wrap of [1, 0, 1]) {
      for (let position = 0; position < SIZE; position++) {
        const flags = PackedQueue.available(wrap);
        queue.writeDescriptor(position, { address: queue.slotsAt, length, id: 5, flags });
      }
      queue.kick();
      await arrives('again', SIZE);
      const used = wrap === 1 ? USED : 0;
      await until('the whole ring to be used', () => {
        const all = Array.from({ length: SIZE }, (_, at) => queue.readDescriptor(at).flags);
        return all.every((flags) => (flags & USED) === used);
      });
    }
    await heal(fixture(), a);
  });

  test('input buffers with one id: each is used once', async () => {
    const a = await fixture().attacker({ packed: true, queueSize: SIZE, receiveBuffers: 0 });
    const queue = asPacked(a.receiveQueue());
    for (let position = 0; position < 4; position++) {
      const flags = PackedQueue.available(1) | 2;
      queue.writeDescriptor(position, {
        address: queue.slot(position),
        length: 2000,
        id: 77,
        flags,
      });
    }
    queue.kick();
    for (let position = 0; position < 4; position++) {
      const frame = udpFrame(B, A.ip, Buffer.from(`number ${position}`));
      await fixture().b.send(frame);
      await until('it to be used', () => (queue.readDescriptor(position).flags & USED) === USED);
      expect(queue.readDescriptor(position)).toMatchObject({ id: 77, length: 12 + frame.length });
      const got = a.memory.bytes(queue.slot(position) + 12, frame.length);
      expect(parse(got).udp?.payload.toString()).toBe(`number ${position}`);
    }
    await heal(fixture(), a);
  });
});
