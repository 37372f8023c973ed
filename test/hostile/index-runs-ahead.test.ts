/** Ranked case 5: the available index jumps by more than the ring holds. The ring is broken, no stale chain is taken. */
import { describe, test } from 'vitest';
import { asSplit } from '../support/driver-split.ts';
import { useFixture } from '../support/fixture.ts';
import { expectBroken } from './attack.ts';

describe('the available index runs ahead', () => {
  const fixture = useFixture();

  for (const jump of [257, 1000, 32768, -1, -2]) {
    test(`by ${jump} in a ring of 256`, async () => {
      const a = await fixture().attacker();
      // stale heads of earlier, honest chains are what a careless device would send again
      for (let i = 0; i < 10; i++) await fixture().goodPasses(a);
      await a.untilSent();
      const queue = asSplit(a.transmitQueue());
      await expectBroken(fixture(), a, () => {
        queue.availableIndex = queue.next + jump;
      });
    });
  }
});
