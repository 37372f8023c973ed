/** Ranked case 10: every lie in a chain or about a checksum under many sets of features and ring sizes has the same result. */
import { describe, test } from 'vitest';
import { useFixture } from '../support/fixture.ts';
import { BOTH_FORMATS, FORMATS } from '../support/formats.ts';
import { FEATURE } from '../support/protocol.ts';
import { LONG } from '../support/random.ts';
import { LINUX_FEATURES } from '../support/vm.ts';
import { canTell, expectDropped } from './attack.ts';
import { CHAIN_LIES } from './chains.ts';
import { CHECKSUM_LIES } from './checksums.ts';

const SETS: Record<string, bigint> = {
  everything: LINUX_FEATURES,
  'VERSION_1 alone': FEATURE.VERSION_1,
  legacy: FEATURE.INDIRECT_DESC,
  'no MRG_RXBUF': LINUX_FEATURES & ~FEATURE.MRG_RXBUF,
  'no INDIRECT_DESC': LINUX_FEATURES & ~FEATURE.INDIRECT_DESC,
  'no CSUM': LINUX_FEATURES & ~FEATURE.CSUM,
  'no EVENT_IDX': LINUX_FEATURES & ~FEATURE.EVENT_IDX,
  IN_ORDER: LINUX_FEATURES | FEATURE.IN_ORDER,
};
const SIZES = LONG ? [64, 256, 1024] : [64, 1024];
/** Packed ones may have any. */
const PACKED_SIZES = LONG ? [64, 100, 256, 1024] : [100];

const fixture = useFixture(BOTH_FORMATS);

describe.each(FORMATS)('every lie under every set of features: $format', ({ packed }) => {
  for (const [name, features] of Object.entries(SETS)) {
    if (packed && (features & FEATURE.VERSION_1) === 0n) continue; // which packed rings need
    for (const queueSize of packed ? PACKED_SIZES : SIZES) {
      test(`${name}, rings of ${queueSize}`, async () => {
        const a = await fixture().attacker({
          features,
          packed,
          queueSize,
          receiveBuffers: 16,
          memory: {
            regions: [
              { guestAddress: 0, bytes: 0xa0000 },
              { guestAddress: 0x100000, bytes: 0xf00000, sameFile: true },
            ],
          },
        });
        const lies = [...CHAIN_LIES, ...CHECKSUM_LIES];
        for (const lie of lies) if (canTell(lie, a)) await expectDropped(fixture(), a, lie);
      });
    }
  }
});
