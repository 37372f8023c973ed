/** Ranked case 8: chains of more bytes than 64 KiB and headers; sums that leave 32 bits. */
import { describe, test } from 'vitest';
import { useFixture } from '../support/fixture.ts';
import { BOTH_FORMATS, FORMATS } from '../support/formats.ts';
import { LINUX_FEATURES } from '../support/vm.ts';
import { expectDropped, liesOf } from './attack.ts';
import { OVERSIZE } from './chains.ts';

const fixture = useFixture(BOTH_FORMATS);

describe.each(FORMATS)('a chain is longer than any datagram: $format', ({ packed }) => {
  for (const lie of liesOf(OVERSIZE, packed)) {
    test(lie.name, async () => {
      const features = LINUX_FEATURES & ~(lie.lacks ?? 0n);
      const a = await fixture().attacker({ features, packed });
      await expectDropped(fixture(), a, lie);
    });
  }
});
