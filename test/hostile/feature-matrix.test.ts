/** Ranked case 10: every chain lie under many sets of features and ring sizes has the same result. */
import { describe, test } from 'vitest';
import { useFixture } from '../support/fixture.ts';
import { FEATURE } from '../support/protocol.ts';
import { LONG } from '../support/random.ts';
import { LINUX_FEATURES } from '../support/vm.ts';
import { canTell, expectDropped } from './attack.ts';
import { CHAIN_LIES } from './chains.ts';

const SETS: Record<string, bigint> = {
  everything: LINUX_FEATURES,
  'VERSION_1 alone': FEATURE.VERSION_1,
  legacy: FEATURE.INDIRECT_DESC,
  'no MRG_RXBUF': LINUX_FEATURES & ~FEATURE.MRG_RXBUF,
  'no INDIRECT_DESC': LINUX_FEATURES & ~FEATURE.INDIRECT_DESC,
  'no EVENT_IDX': LINUX_FEATURES & ~FEATURE.EVENT_IDX,
  IN_ORDER: LINUX_FEATURES | FEATURE.IN_ORDER,
};
const SIZES = LONG ? [64, 256, 1024] : [64, 1024];

describe('every lie under every set of features', () => {
  const fixture = useFixture();

  for (const [name, features] of Object.entries(SETS)) {
    for (const queueSize of SIZES) {
      test(`${name}, rings of ${queueSize}`, async () => {
        const a = await fixture().attacker({
          features,
          queueSize,
          receiveBuffers: 16,
          memory: {
            regions: [
              { guestAddress: 0, bytes: 0xa0000 },
              { guestAddress: 0x100000, bytes: 0xf00000, sameFile: true },
            ],
          },
        });
        for (const lie of CHAIN_LIES) if (canTell(lie, a)) await expectDropped(fixture(), a, lie);
      });
    }
  }
});
