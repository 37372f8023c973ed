/** Ranked case 3: chains without an end. At most ring-size steps are taken, the chain is recycled. */
import { describe, test } from 'vitest';
import { useFixture } from '../support/fixture.ts';
import { LINUX_FEATURES } from '../support/vm.ts';
import { expectDropped } from './attack.ts';
import { LOOPS } from './chains.ts';

describe('a chain loops', () => {
  const fixture = useFixture();

  for (const lie of LOOPS) {
    test(lie.name, async () => {
      const features = LINUX_FEATURES & ~(lie.lacks ?? 0n);
      const a = await fixture().attacker({ features });
      await expectDropped(fixture(), a, lie);
    });
  }
});
