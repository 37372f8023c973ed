/**
 * Event suppression areas of packed rings that lie (2.8.10): places beyond the ring, the wrong lap, reserved flags, offsets without
 * EVENT_IDX, and scribbles over the device's own area. Datagrams pass all the same; only the liar's own interrupts suffer.
 */
import { describe, expect, test } from 'vitest';
import { asPacked, EVENT } from '../support/driver-packed.ts';
import { useFixture } from '../support/fixture.ts';
import { BOTH_FORMATS } from '../support/formats.ts';
import { parse } from '../support/packets.ts';
import { FEATURE } from '../support/protocol.ts';
import { seeded } from '../support/random.ts';
import { A, B, udpFrame } from '../support/traffic.ts';
import { until } from '../support/until.ts';
import { LINUX_FEATURES, type Vm } from '../support/vm.ts';

const FEATURES = {
  EVENT_IDX: LINUX_FEATURES,
  'no EVENT_IDX': LINUX_FEATURES & ~FEATURE.EVENT_IDX,
};

describe('packed event areas lie', () => {
  const fixture = useFixture(BOTH_FORMATS);

  /** One datagram in each direction, kicked by hand; its receiver polls. */
  async function passes(a: Vm, text: string): Promise<void> {
    const { b, flow } = fixture();
    await until('room to send', () => {
      return a.trySend(udpFrame(A, B.ip, Buffer.from(text)), { publish: false });
    });
    a.transmitQueue().publish(false);
    a.transmitQueue().kick();
    expect(parse((await flow.other(b)).frame).udp?.payload.toString()).toBe(text);
    await b.send(udpFrame(B, A.ip, Buffer.from(text)));
    await until('the answer', () => a.pollReceived(false) > 0);
    expect(parse(a.received.shift()!.frame).udp?.payload.toString()).toBe(text);
    const queue = a.receiveQueue();
    queue.add([{ room: queue.slotBytes }]);
    queue.publish(false);
    queue.kick();
  }

  for (const [name, features] of Object.entries(FEATURES)) {
    test(`any place and flags: ${name}`, async () => {
      const random = seeded();
      const a = await fixture().attacker({ features, packed: true, queueSize: 32 });
      for (let i = 0; i < 60; i++) {
        for (const queue of a.queues) {
          asPacked(queue).writeEvent(
            random.below(0x8000),
            random.below(2),
            random.pick([EVENT.enable, EVENT.disable, EVENT.descriptor, 3, 0xffff]),
          );
        }
        await passes(a, `number ${i}`);
      }
      // what it wants honestly it gets
      const queue = a.receiveQueue();
      queue.wantInterrupt();
      queue.interrupts();
      await fixture().b.send(udpFrame(B, A.ip, Buffer.from('the last')));
      await until('an interrupt', () => queue.interrupts() > 0);
    });
  }

  test('its own area is scribbled over: it is not read back, and written again', async () => {
    const random = seeded();
    const a = await fixture().attacker({ packed: true, queueSize: 32 });
    for (let i = 0; i < 30; i++) {
      for (const queue of a.queues) a.memory.bytes(queue.usedAt, 4).set(random.bytes(4));
      await passes(a, `number ${i}`);
    }
    for (const queue of a.queues) a.memory.bytes(queue.usedAt, 4).fill(0xff);
    await passes(a, 'the last but one');
    const area = a.memory.bytes(a.transmitQueue().usedAt, 4);
    await until('the output ring to ask for kicks again', () => {
      return area.readUInt16LE(2) === EVENT.descriptor && (area.readUInt16LE(0) & 0x7fff) < 32;
    });
    await a.untilSent();
    await passes(a, 'the last');
  });
});
