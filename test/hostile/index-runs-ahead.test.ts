/** Ranked case 5: the available index jumps by more than the ring holds. The ring is broken, no stale chain is taken. */
import { describe, expect, test } from 'vitest';
import { asSplit } from '../support/driver-split.ts';
import { useFixture } from '../support/fixture.ts';
import { PROTOCOL_FEATURE, REQUEST } from '../support/protocol.ts';
import type { Vm } from '../support/vm.ts';
import { expectBroken } from './attack.ts';

/** Shares the same memory anew. */
const AGAIN: [string, bigint, (a: Vm) => Promise<bigint>][] = [
  [
    'SET_MEM_TABLE',
    PROTOCOL_FEATURE.REPLY_ACK,
    ({ frontEnd, memory }) => frontEnd.setMemoryTable(memory.regions),
  ],
  [
    'REM_MEM_REG, ADD_MEM_REG',
    PROTOCOL_FEATURE.REPLY_ACK | PROTOCOL_FEATURE.CONFIGURE_MEM_SLOTS,
    async ({ frontEnd, memory }) => {
      const [region] = memory.regions;
      return (await frontEnd.removeRegion(region)) | (await frontEnd.addRegion(region));
    },
  ],
];

describe('the available index runs ahead', () => {
  const fixture = useFixture();

  for (const jump of [257, 1000, 32768, -1, -2]) {
    test(`by ${jump} in a ring of 256`, async () => {
      const a = await fixture().attacker();
      // stale heads of earlier, honest chains are what a careless device would send again
      for (let i = 0; i < 10; i++) await fixture().goodPasses(a);
      await a.untilSent();
      const queue = asSplit(a.transmitQueue());
      await expectBroken(fixture(), a, () => {
        queue.availableIndex = queue.next + jump;
      });
    });
  }

  test.each(AGAIN)(
    'and back, with %s and SET_VRING_KICK meanwhile: it stays broken, and nothing is sent again',
    async (_, protocolFeatures, share) => {
      const a = await fixture().attacker({ protocolFeatures });
      for (let i = 0; i < 5; i++) await fixture().goodPasses(a);
      await a.untilSent();
      const queue = asSplit(a.transmitQueue());
      const good = queue.availableIndex;
      await expectBroken(
        fixture(),
        a,
        () => {
          queue.availableIndex = good + 1000;
        },
        async () => {
          queue.availableIndex = good;
          expect(await share(a)).toBe(0n);
          for (const ring of [0, 1]) {
            const { kickDescriptor } = a.queues[ring];
            const start = REQUEST.SET_VRING_KICK;
            expect(await a.frontEnd.setVringDescriptor(start, ring, kickDescriptor)).toBe(0n);
          }
        },
      );
    },
  );
});
