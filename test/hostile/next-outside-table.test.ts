/** Ranked case 3: a descriptor names a next one that the table does not have. */
import { describe, test } from 'vitest';
import { useFixture } from '../support/fixture.ts';
import { LINUX_FEATURES } from '../support/vm.ts';
import { expectDropped } from './attack.ts';
import { BAD_NEXT } from './chains.ts';

describe('a chain leaves its table', () => {
  const fixture = useFixture();

  for (const lie of BAD_NEXT) {
    test(lie.name, async () => {
      const features = LINUX_FEATURES & ~(lie.lacks ?? 0n);
      const a = await fixture().attacker({ features });
      await expectDropped(fixture(), a, lie);
    });
  }
});
