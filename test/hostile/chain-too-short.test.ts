/** Ranked case 8: chains that end within the virtio-net header or the Ethernet header. */
import { describe, test } from 'vitest';
import { useFixture } from '../support/fixture.ts';
import { BOTH_FORMATS, FORMATS } from '../support/formats.ts';
import { LINUX_FEATURES } from '../support/vm.ts';
import { expectDropped, liesOf } from './attack.ts';
import { SHORT } from './chains.ts';

const fixture = useFixture(BOTH_FORMATS);

describe.each(FORMATS)('a chain ends too early: $format', ({ packed }) => {
  for (const lie of liesOf(SHORT, packed)) {
    test(lie.name, async () => {
      const features = LINUX_FEATURES & ~(lie.lacks ?? 0n);
      const a = await fixture().attacker({ features, packed });
      await expectDropped(fixture(), a, lie);
    });
  }
});
