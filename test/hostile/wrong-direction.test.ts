/** An output chain with descriptors that the device may only write (2.7.4.2). */
import { describe, test } from 'vitest';
import { useFixture } from '../support/fixture.ts';
import { BOTH_FORMATS, FORMATS } from '../support/formats.ts';
import { LINUX_FEATURES } from '../support/vm.ts';
import { expectDropped, liesOf } from './attack.ts';
import { BAD_DIRECTION } from './chains.ts';

const fixture = useFixture(BOTH_FORMATS);

describe.each(FORMATS)('a buffer of the wrong direction: $format', ({ packed }) => {
  for (const lie of liesOf(BAD_DIRECTION, packed)) {
    test(lie.name, async () => {
      const features = LINUX_FEATURES & ~(lie.lacks ?? 0n);
      const a = await fixture().attacker({ features, packed });
      await expectDropped(fixture(), a, lie);
    });
  }
});
