/** Ranked case 20: rings are stopped and started, regions added and removed, while datagrams flow. */
import { describe, expect, test } from 'vitest';
import { useFixture } from '../support/fixture.ts';
import { BOTH_FORMATS, FORMATS } from '../support/formats.ts';
import { A, B, udpFrame } from '../support/traffic.ts';
import { until } from '../support/until.ts';

const fixture = useFixture(BOTH_FORMATS);

describe.each(FORMATS)('memory and rings change under load: $format', ({ packed }) => {
  test('GET_VRING_BASE is exact, and no access follows the answer', async () => {
    const a = await fixture().attacker({ packed });
    const queue = a.transmitQueue();
    let sent = 0;
    let seen = 0;
    const take = async () => {
      while (fixture().flow.others(fixture().b).length > 0) {
        fixture().flow.others(fixture().b).shift();
        seen++;
      }
    };
    for (let round = 0; round < (packed ? 20 : 40); round++) {
      for (let i = 0; i < 30; i++) {
        if (a.trySend(udpFrame(A, B.ip, Buffer.from(`${sent}`)), { publish: i % 3 === 0 })) sent++;
      }
      queue.publish();
      const base = await a.stopRing(1);
      expect(base, 'what was taken is given back').toBe(queue.usedBase);
      const digest = a.memory.digest();
      queue.kick();
      await fixture().b.frontEnd.getFeatures();
      expect(a.memory.digest()).toBe(digest);
      await a.startRing(1, base);
      await take();
    }
    await until('everything to arrive once', async () => {
      await take();
      return seen >= sent;
    });
    expect(seen).toBe(sent);
    await a.untilSent();
  });

  test('regions come and go many times', async () => {
    const a = await fixture().attacker({ packed });
    const region = a.memory.add({ guestAddress: 0x1_0000_0000, bytes: 0x10000 });
    for (let i = 0; i < (packed ? 25 : 100); i++) {
      expect(await a.frontEnd.addRegion(region)).toBe(0n);
      await fixture().goodPasses(a);
      expect(await a.frontEnd.removeRegion(region)).toBe(0n);
    }
    await fixture().goodPasses(a);
  });

  test('many large regions go at once, and the connection goes on', async () => {
    const a = await fixture().attacker({ packed });
    const regions = Array.from({ length: 150 }, (_, index) =>
      a.memory.add({ guestAddress: (1 << 30) + index * (32 << 20), bytes: 17 << 20 }),
    );
    for (const region of regions) expect(await a.frontEnd.addRegion(region)).toBe(0n);
    for (const region of regions) expect(await a.frontEnd.removeRegion(region)).toBe(0n);
    expect(await a.frontEnd.addRegion(regions[0])).toBe(0n);
    await fixture().goodPasses(a);
  });
});
