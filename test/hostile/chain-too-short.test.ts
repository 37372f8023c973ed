/** Ranked case 8: chains that end within the virtio-net header or the Ethernet header. */
import { describe, test } from 'vitest';
import { useFixture } from '../support/fixture.ts';
import { LINUX_FEATURES } from '../support/vm.ts';
import { expectDropped } from './attack.ts';
import { SHORT } from './chains.ts';

describe('a chain ends too early', () => {
  const fixture = useFixture();

  for (const lie of SHORT) {
    test(lie.name, async () => {
      const features = LINUX_FEATURES & ~(lie.lacks ?? 0n);
      const a = await fixture().attacker({ features });
      await expectDropped(fixture(), a, lie);
    });
  }
});
