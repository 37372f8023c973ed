/** Ranked case 2: buffers over the end of a region, in holes, beyond 2^53, wrapping 2^64. No byte outside is read, the chain is recycled. */
import { describe, test } from 'vitest';
import { useFixture } from '../support/fixture.ts';
import { BOTH_FORMATS, FORMATS } from '../support/formats.ts';
import { LINUX_FEATURES } from '../support/vm.ts';
import { expectDropped, liesOf } from './attack.ts';
import { BAD_ADDRESS } from './chains.ts';

const fixture = useFixture(BOTH_FORMATS);

describe.each(FORMATS)('a buffer lies outside memory: $format', ({ packed }) => {
  for (const lie of liesOf(BAD_ADDRESS, packed)) {
    test(lie.name, async () => {
      const features = LINUX_FEATURES & ~(lie.lacks ?? 0n);
      const a = await fixture().attacker({ features, packed });
      await expectDropped(fixture(), a, lie);
    });
  }
});
