/** Ranked case 2: buffers over the end of a region, in holes, beyond 2^53, wrapping 2^64. No byte outside is read, the chain is recycled. */
import { describe, test } from 'vitest';
import { useFixture } from '../support/fixture.ts';
import { LINUX_FEATURES } from '../support/vm.ts';
import { expectDropped } from './attack.ts';
import { BAD_ADDRESS } from './chains.ts';

describe('a buffer lies outside memory', () => {
  const fixture = useFixture();

  for (const lie of BAD_ADDRESS) {
    test(lie.name, async () => {
      const features = LINUX_FEATURES & ~(lie.lacks ?? 0n);
      const a = await fixture().attacker({ features });
      await expectDropped(fixture(), a, lie);
    });
  }
});
