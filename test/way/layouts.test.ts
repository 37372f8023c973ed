/** The virtio-net header and the frame may lie over any descriptors (VERSION_1, ANY_LAYOUT): the device must not care. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { BOTH_FORMATS, FORMATS } from '../support/formats.ts';
import { FEATURE } from '../support/protocol.ts';
import { seeded } from '../support/random.ts';
import { A, B, forwarded, udpFrame } from '../support/traffic.ts';
import type { Vm } from '../support/vm.ts';
import { World } from '../support/world.ts';

const ONES = (count: number) => Array.from({ length: count }, () => 1);

const LAYOUTS: Record<string, number[]> = {
  'all in one descriptor': [5000],
  'header, then frame': [12, 5000],
  'header in twelve descriptors of one byte': [...ONES(12), 5000],
  'header cut in the middle': [5, 7, 5000],
  'header with the Ethernet header': [26, 5000],
  'header with a part of the Ethernet header': [18, 5000],
  'Ethernet header cut in the middle': [12, 7, 5000],
  'cut in the IP header': [12, 14, 3, 5000],
  'forty descriptors of one byte': [...ONES(40), 5000],
  'a hundred and fifty descriptors of three bytes': [...ONES(150).map(() => 3), 5000],
};

let world: World;
beforeAll(async () => {
  world = await World.start(BOTH_FORMATS);
});
afterEach(() => world.release());
afterAll(() => world?.close());

describe.each(FORMATS)('any layout: $format', ({ packed }) => {
  let a: Vm;
  let b: Vm;
  const rounds = packed ? 8 : 20;

  for (const indirect of [false, true]) {
    for (const [name, layout] of Object.entries(LAYOUTS)) {
      test(`${indirect ? 'indirect' : 'direct'}: ${name}`, async () => {
        const random = seeded();
        a = await world.vm('a', { packed, transmitBytes: 8192 });
        b = await world.vm('b', { packed });
        for (let i = 0; i < rounds; i++) {
          const frame = udpFrame(A, B.ip, random.bytes(random.between(500, 1400)));
          await a.send(frame, { layout, indirect });
          expect((await b.receive()).frame.equals(forwarded(frame, B)), `${i}`).toBe(true);
        }
        await a.untilSent();
        await world.balance();
      });
    }
  }

  test('direct and indirect chains by turns', async () => {
    const random = seeded();
    a = await world.vm('a', { packed, transmitBytes: 4096 });
    b = await world.vm('b', { packed });
    for (let i = 0; i < 15 * rounds; i++) {
      const frame = udpFrame(A, B.ip, random.bytes(random.between(0, 1400)));
      await a.send(frame, {
        indirect: i % 2 === 0,
        layout: random.pick(Object.values(LAYOUTS).slice(0, 8)),
      });
      expect((await b.receive()).frame.equals(forwarded(frame, B)), `${i}`).toBe(true);
    }
  });

  // Virtio 1.3, 2.7.5.3.1 and 2.8.19: a chain may have as many buffers as the queue has entries; what names the table is none of them.
  test.each([3, 4])('an indirect table of %i entries in a ring of 4', async (entries) => {
    a = await world.vm('a', { packed, queueSize: 4 });
    b = await world.vm('b', { packed });
    const frame = udpFrame(A, B.ip, Buffer.from('as long as a chain may be'));
    const { drops } = await world.daemon.vm('a');
    await a.send(frame, { indirect: true, layout: [12, 14, 20, 5000].slice(-entries) });
    await a.untilSent();
    expect((await world.daemon.vm('a')).drops).toEqual(drops);
    expect((await b.receive()).frame.equals(forwarded(frame, B))).toBe(true);
    await world.balance();
  });

  const RECEIVE: Record<string, { layout: number[]; merge: boolean }> = {
    'header apart from the frame': { layout: [12, 1600], merge: false },
    'header over twelve descriptors': { layout: [...ONES(12), 1600], merge: false },
    'header cut in the middle': { layout: [7, 5, 100, 1500], merge: false },
    'chains of three, mergeable': { layout: [12, 100, 200], merge: true },
  };
  for (const [name, { layout, merge }] of Object.entries(RECEIVE)) {
    test(`input buffers: ${name}`, async () => {
      const random = seeded();
      a = await world.vm('a', { packed });
      b = await world.vm('b', {
        packed,
        receiveLayout: layout,
        features: merge ? FEATURE.VERSION_1 | FEATURE.MRG_RXBUF : FEATURE.VERSION_1,
      });
      for (let i = 0; i < 3 * rounds; i++) {
        const frame = udpFrame(A, B.ip, random.bytes(random.between(0, 1400)));
        await a.send(frame);
        expect((await b.receive()).frame.equals(forwarded(frame, B)), `${i}`).toBe(true);
      }
      await world.balance();
    });
  }
});
