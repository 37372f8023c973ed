/** An output chain with descriptors that the device may only write (2.7.4.2). */
import { describe, test } from 'vitest';
import { useFixture } from '../support/fixture.ts';
import { LINUX_FEATURES } from '../support/vm.ts';
import { expectDropped } from './attack.ts';
import { BAD_DIRECTION } from './chains.ts';

describe('a buffer of the wrong direction', () => {
  const fixture = useFixture();

  for (const lie of BAD_DIRECTION) {
    test(lie.name, async () => {
      const features = LINUX_FEATURES & ~(lie.lacks ?? 0n);
      const a = await fixture().attacker({ features });
      await expectDropped(fixture(), a, lie);
    });
  }
});
