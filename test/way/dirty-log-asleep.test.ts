/**
 * Live migration: what the base writes when it goes to sleep, the wish to be kicked, is marked in the dirty log as well. It spins long
 * here, so that this write comes by itself, behind all others.
 */
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { DirtyLogArea } from '../support/dirty-log.ts';
import { BOTH_FORMATS, FORMATS } from '../support/formats.ts';
import { FEATURE } from '../support/protocol.ts';
import { A, B, udpFrame } from '../support/traffic.ts';
import { until } from '../support/until.ts';
import { LINUX_FEATURES } from '../support/vm.ts';
import { World } from '../support/world.ts';
import { beginLogging, changed, snapshot } from '../support/written-pages.ts';

const SPIN = 50_000; // microseconds

const GUESTS: Record<string, bigint> = {
  EVENT_IDX: LINUX_FEATURES,
  'no EVENT_IDX': LINUX_FEATURES & ~FEATURE.EVENT_IDX,
};

let world: World;
const log = new DirtyLogArea(16 << 20);
beforeAll(async () => {
  world = await World.start({ ...BOTH_FORMATS, datapath: { spin: SPIN } });
});
afterEach(() => world.release());
afterAll(async () => {
  await world?.close();
  log.close();
});

describe.each(FORMATS)('the base goes to sleep: $format', ({ packed }) => {
  for (const [name, features] of Object.entries(GUESTS)) {
    test(`its wish to be kicked is marked: ${name}`, async () => {
      const a = await world.vm('a', { features, packed });
      const b = await world.vm('b', { packed });
      await beginLogging(a, log);
      const pages = await until('it to fall asleep behind a snapshot', async () => {
        await a.send(udpFrame(A, B.ip, Buffer.alloc(100)));
        await b.receive();
        await a.untilSent();
        log.clear();
        const before = snapshot(a);
        // Too late when this process was held up meanwhile: then once more.
        const end = performance.now() + (4 * SPIN) / 1000;
        return until('a write', () => {
          const pages = changed(a, before);
          return pages.length > 0 ? pages : performance.now() > end ? [] : null;
        }).then((pages) => (pages.length > 0 ? pages : null));
      });
      await a.frontEnd.getFeatures(); // between two turns
      expect(pages.length).toBeGreaterThan(0);
      for (const address of pages)
        expect(log.marked(address), `0x${address.toString(16)}`).toBe(true);
    });
  }
});
