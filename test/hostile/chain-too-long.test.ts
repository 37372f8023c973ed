/** Ranked case 8: chains of more bytes than 64 KiB and headers; sums that leave 32 bits. */
import { describe, test } from 'vitest';
import { useFixture } from '../support/fixture.ts';
import { BOTH_FORMATS, FORMATS } from '../support/formats.ts';
import { LINUX_FEATURES } from '../support/vm.ts';
import { expectDropped, liesOf } from './attack.ts';
import { honest, OVERSIZE } from './chains.ts';

const fixture = useFixture(BOTH_FORMATS);

describe.each(FORMATS)('a chain is longer than any datagram: $format', ({ packed }) => {
  for (const lie of liesOf(OVERSIZE, packed)) {
    test(lie.name, async () => {
      const features = LINUX_FEATURES & ~(lie.lacks ?? 0n);
      const a = await fixture().attacker({ features, packed });
      await expectDropped(fixture(), a, lie);
    });
  }

  test('a sum of 4 GiB and a datagram', async () => {
    const a = await fixture().attacker({
      packed,
      memory: {
        regions: [
          { guestAddress: 0, bytes: 0xa0000 },
          { guestAddress: 0x100000, bytes: 128 << 20 }, // of which nobody touches much
        ],
      },
    });
    await expectDropped(fixture(), a, {
      name: 'cut to 32 bits it would be 72 bytes',
      reason: 'oversize',
      tell() {
        const chain = honest(a, 33);
        const { at, length } = a.memory.regions[1];
        chain.descriptors.forEach((_, i) => {
          a.transmitQueue().rewrite(chain, i, { address: at, length: i < 32 ? length : 72 });
        });
      },
    });
  });
});
