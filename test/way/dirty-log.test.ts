/**
 * Live migration: while the log is on, every page of guest memory that the base writes is marked: data, headers, used rings and avail
 * events; of packed rings used descriptors and the device event area. Memory is compared page by page.
 */
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { DirtyLogArea } from '../support/dirty-log.ts';
import { BOTH_FORMATS, FORMATS } from '../support/formats.ts';
import { parse } from '../support/packets.ts';
import { FEATURE } from '../support/protocol.ts';
import { seeded } from '../support/random.ts';
import { A, B, tcpFrame, udpFrame } from '../support/traffic.ts';
import { pause } from '../support/until.ts';
import { LINUX_FEATURES, type Vm, type VmOptions } from '../support/vm.ts';
import { World } from '../support/world.ts';
import { beginLogging, changed, givenBack, snapshot } from '../support/written-pages.ts';

const GUESTS: Record<string, VmOptions> = {
  Linux: {},
  'no EVENT_IDX': { features: LINUX_FEATURES & ~FEATURE.EVENT_IDX },
  'single buffers': { features: LINUX_FEATURES & ~FEATURE.MRG_RXBUF },
  'small mergeable buffers': { receiveBytes: 256 },
  'buffers over several descriptors': { receiveLayout: [12, 700, 1000], receiveBytes: 3000 },
  'rings of four pages of descriptors': { queueSize: 1024 },
  IN_ORDER: { features: LINUX_FEATURES | FEATURE.IN_ORDER },
};

let world: World;
let log: DirtyLogArea | undefined;
beforeAll(async () => {
  world = await World.start(BOTH_FORMATS);
});
afterEach(async () => {
  await world.release();
  log?.close();
  log = undefined;
});
afterAll(() => world?.close());

describe.each(FORMATS)('dirty log: $format', ({ packed }) => {
  async function begin(a: Vm): Promise<DirtyLogArea> {
    log = new DirtyLogArea(16 << 20);
    await beginLogging(a, log);
    return log;
  }

  for (const [name, options] of Object.entries(GUESTS)) {
    test(`every page that was written is marked: ${name}`, async () => {
      const random = seeded();
      const a = await world.vm('a', { ...options, packed });
      const b = await world.vm('b', { packed });
      const pages = await begin(a);
      const used = givenBack(a);
      for (let round = 0; round < (packed ? 5 : 10); round++) {
        pages.clear();
        used();
        const before = snapshot(a);
        for (let i = 0; i < 20; i++) {
          await b.send(udpFrame(B, A.ip, random.bytes(random.between(0, 1400))));
          await a.send(udpFrame(A, B.ip, random.bytes(random.between(0, 1400))));
          expect(parse((await a.receive()).frame).problems).toEqual([]);
          await b.receive();
        }
        await a.untilSent();
        await a.frontEnd.getFeatures(); // between two turns
        for (const address of [...changed(a, before), ...used()]) {
          expect(pages.marked(address), `page 0x${address.toString(16)} of round ${round}`).toBe(
            true,
          );
        }
        expect(pages.count).toBeGreaterThan(0);
      }
    });
  }

  test('large datagrams over many buffers', async () => {
    const random = seeded();
    const a = await world.vm('a', { packed });
    const b = await world.vm('b', { packed, transmitBytes: 4096 });
    const pages = await begin(a);
    const before = snapshot(a);
    for (let i = 0; i < 5; i++) {
      await b.send(tcpFrame(B, A.ip, random.bytes(40000), { checksum: 'partial' }), {
        header: {
          flags: 1,
          gsoType: 1,
          gsoSize: 1448,
          checksumStart: 34,
          checksumOffset: 16,
          headerLength: 54,
        },
      });
      expect(parse((await a.receive()).frame).problems).toEqual([]);
    }
    for (const address of changed(a, before)) expect(pages.marked(address)).toBe(true);
  });

  test('the log grows: the new one is used after the answer, the old one is let go', async () => {
    const a = await world.vm('a', { packed });
    const b = await world.vm('b', { packed });
    const old = await begin(a);
    const bigger = new DirtyLogArea(64 << 20);
    try {
      await bigger.share(a.frontEnd);
      old.clear();
      const before = snapshot(a);
      for (let i = 0; i < 20; i++) {
        await b.send(udpFrame(B, A.ip, Buffer.alloc(1000, i)));
        await a.receive();
      }
      expect(old.count).toBe(0);
      for (const address of changed(a, before)) expect(bigger.marked(address)).toBe(true);
    } finally {
      a.close();
      await world.daemon.untilState('a', 'waiting');
      bigger.close();
    }
  });

  test('the memory is shared anew meanwhile: what is written to the rings is marked as before', async () => {
    const a = await world.vm('a', { packed });
    const b = await world.vm('b', { packed });
    const pages = await begin(a);
    expect(await a.frontEnd.setMemoryTable(a.memory.regions)).toBe(0n);
    pages.clear();
    const used = givenBack(a);
    used();
    const before = snapshot(a);
    for (let i = 0; i < 20; i++) {
      await b.send(udpFrame(B, A.ip, Buffer.alloc(1000, i)));
      await a.receive();
    }
    await a.frontEnd.getFeatures();
    for (const address of [...changed(a, before), ...used()])
      expect(pages.marked(address)).toBe(true);
  });

  test('without LOG_ALL nothing is marked; the migration was cancelled', async () => {
    const a = await world.vm('a', { packed });
    const b = await world.vm('b', { packed });
    const pages = await begin(a);
    await a.frontEnd.setFeatures(a.features);
    for (const index of [0, 1]) await a.setAddress(index);
    await pause();
    pages.clear();
    for (let i = 0; i < 20; i++) {
      await b.send(udpFrame(B, A.ip, Buffer.alloc(100)));
      await a.receive();
      await a.send(udpFrame(A, B.ip, Buffer.alloc(100)));
      await b.receive();
    }
    await a.untilSent();
    expect(pages.count).toBe(0);
  });

  test('GET_VRING_BASE, then nothing is written and nothing is missing in the log', async () => {
    const a = await world.vm('a', { packed });
    const b = await world.vm('b', { packed });
    const pages = await begin(a);
    const before = snapshot(a);
    for (let i = 0; i < 30; i++) b.trySend(udpFrame(B, A.ip, Buffer.alloc(800, i)));
    await b.untilSent();
    await a.stopRing(0);
    await a.stopRing(1);
    const after = a.memory.digest();
    for (const address of changed(a, before)) expect(pages.marked(address)).toBe(true);
    b.trySend(udpFrame(B, A.ip, Buffer.alloc(800)));
    await b.untilSent();
    expect(a.memory.digest()).toBe(after);
  });
});
