/** Ranked case 8: chains of more bytes than 64 KiB and headers; sums that leave 32 bits. */
import { describe, test } from 'vitest';
import { useFixture } from '../support/fixture.ts';
import { LINUX_FEATURES } from '../support/vm.ts';
import { expectDropped } from './attack.ts';
import { OVERSIZE } from './chains.ts';

describe('a chain is longer than any datagram', () => {
  const fixture = useFixture();

  for (const lie of OVERSIZE) {
    test(lie.name, async () => {
      const features = LINUX_FEATURES & ~(lie.lacks ?? 0n);
      const a = await fixture().attacker({ features });
      await expectDropped(fixture(), a, lie);
    });
  }
});
