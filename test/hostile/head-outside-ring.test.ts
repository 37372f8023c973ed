/** Ranked case 4: the available ring names a head that the table does not have. It can't be given back: the ring is broken. */
import { describe, test } from 'vitest';
import { BASE_IP } from '../support/daemon.ts';
import { asSplit } from '../support/driver-split.ts';
import { useFixture } from '../support/fixture.ts';
import { A, echoFrame } from '../support/traffic.ts';
import { expectBroken, heal } from './attack.ts';

describe('a head outside the ring', () => {
  const fixture = useFixture();

  for (const head of [256, 300, 65535]) {
    test(`head ${head} in a ring of 256`, async () => {
      const a = await fixture().attacker();
      await fixture().goodPasses(a);
      await a.untilSent();
      const queue = asSplit(a.transmitQueue());
      await expectBroken(fixture(), a, () => {
        queue.writeAvailable(queue.next, head);
        queue.availableIndex = queue.next + 1;
      });
    });
  }

  test('on the input ring: it breaks when the head is looked at, and heals', async () => {
    const a = await fixture().attacker({ receiveBuffers: 4 });
    const before = await fixture().daemon.count('a', 'ringsBroken');
    const queue = asSplit(a.receiveQueue());
    for (let i = 4; i < 20; i++) queue.writeAvailable(i, 999);
    queue.availableIndex = 20;
    queue.kick();
    // traffic for it, from itself: hairpin through the base's echo
    for (let i = 0; i < 10; i++) await a.send(echoFrame(A, BASE_IP, i));
    await fixture().daemon.untilCount('a', 'ringsBroken', before + 1);
    await heal(fixture(), a);
  });
});
