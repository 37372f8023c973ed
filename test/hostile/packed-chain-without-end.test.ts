/**
 * A chain in a packed ring that goes on with a descriptor that is not available, or around the whole ring (2.8.6). Nobody can say where
 * the next one begins: the ring is broken, until its driver resets it.
 */
import { describe, test } from 'vitest';
import { DESC } from '../support/driver.ts';
import { asPacked, PackedQueue } from '../support/driver-packed.ts';
import { useFixture } from '../support/fixture.ts';
import { BOTH_FORMATS } from '../support/formats.ts';
import { A, B, udpFrame } from '../support/traffic.ts';
import type { Vm } from '../support/vm.ts';
import { expectBroken, heal } from './attack.ts';
import { honest } from './chains.ts';

describe('a packed chain without an end', () => {
  const fixture = useFixture(BOTH_FORMATS);

  const LIES: Record<string, (a: Vm) => void> = {
    'its last descriptor says NEXT': (a) => {
      a.transmitQueue().rewrite(honest(a, 1), 0, { flags: DESC.next });
    },
    'the last of forty says NEXT': (a) => {
      a.transmitQueue().rewrite(honest(a, 40), 39, { flags: DESC.next });
    },
    'all descriptors of the ring say NEXT': (a) => {
      const queue = a.transmitQueue();
      queue.rewrite(honest(a, queue.size), queue.size - 1, { flags: DESC.next });
    },
    'an indirect table says NEXT': (a) => {
      const queue = a.transmitQueue();
      const chain = queue.add([{ data: Buffer.alloc(60) }], { indirect: true })!;
      queue.rewrite(chain, 0, { flags: DESC.indirect | DESC.next });
    },
  };

  for (const [name, tell] of Object.entries(LIES)) {
    test(name, async () => {
      const a = await fixture().attacker({ packed: true, queueSize: 64 });
      await fixture().goodPasses(a);
      await a.untilSent();
      await expectBroken(fixture(), a, () => {
        tell(a);
        a.transmitQueue().publish(false);
      });
    });
  }

  test('behind the end of the ring it has the wrap bit of the lap before', async () => {
    const a = await fixture().attacker({ packed: true, queueSize: 8 });
    const queue = asPacked(a.transmitQueue());
    while (queue.position !== 6) await fixture().goodPasses(a);
    await a.untilSent();
    await expectBroken(fixture(), a, () => {
      const buffer = { address: queue.slotsAt, length: 60, id: 0 };
      const flags = PackedQueue.available(queue.wrap);
      queue.writeDescriptor(0, { ...buffer, flags });
      queue.writeDescriptor(7, { ...buffer, flags: flags | DESC.next });
      queue.writeDescriptor(6, { ...buffer, flags: flags | DESC.next });
    });
  });

  test('in an input ring: it breaks when a datagram comes, and heals', async () => {
    const a = await fixture().attacker({ packed: true, receiveBuffers: 0 });
    const before = await fixture().daemon.count('a', 'ringsBroken');
    const queue = a.receiveQueue();
    const chain = queue.add([{ room: 2000 }])!;
    queue.rewrite(chain, 0, { flags: DESC.write | DESC.next });
    queue.publish();
    await fixture().b.send(udpFrame(B, A.ip, Buffer.from('into a chain without an end')));
    await fixture().daemon.untilCount('a', 'ringsBroken', before + 1);
    await heal(fixture(), a);
  });
});
