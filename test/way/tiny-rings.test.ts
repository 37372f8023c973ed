/** Rings of one to seven entries, which hold one datagram or a few: all of them come, in order, one by one and in bursts, with every kind of chain that fits. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { BOTH_FORMATS, FORMATS } from '../support/formats.ts';
import { parse } from '../support/packets.ts';
import { FEATURE } from '../support/protocol.ts';
import { LONG } from '../support/random.ts';
import { A, B, udpFrame } from '../support/traffic.ts';
import { pause, until } from '../support/until.ts';
import { LINUX_FEATURES, type SendOptions } from '../support/vm.ts';
import { World } from '../support/world.ts';

const ONE_BY_ONE = LONG ? 300 : 60;
const BURST = LONG ? 5000 : 200;

const GUESTS: Record<string, bigint> = {
  EVENT_IDX: LINUX_FEATURES,
  'no EVENT_IDX': LINUX_FEATURES & ~FEATURE.EVENT_IDX,
  IN_ORDER: LINUX_FEATURES | FEATURE.IN_ORDER,
  'IN_ORDER, no EVENT_IDX': (LINUX_FEATURES & ~FEATURE.EVENT_IDX) | FEATURE.IN_ORDER,
};

let world: World;
beforeAll(async () => {
  world = await World.start(BOTH_FORMATS);
});
afterEach(async () => {
  await world.balance();
  await world.release();
});
afterAll(() => world?.close());

const numbered = (number: number) => udpFrame(A, B.ip, Buffer.from(`${number}`.padEnd(20)));
const numberOf = (frame: Buffer) => Number(parse(frame).udp!.payload.toString());
const FRAME = numbered(0).length;
const WHOLE: SendOptions = { layout: [12 + FRAME] };
const CHAIN: SendOptions = { layout: [12, FRAME] };

describe.each(FORMATS)('tiny rings: $format', ({ packed }) => {
  describe.each(packed ? [1, 2, 3, 5, 7] : [1, 2, 4])('of %i', (queueSize) => {
    test.each(Object.entries(GUESTS))('%s', async (_, features) => {
      const options = { packed, queueSize, features };
      const a = await world.vm('a', options);
      const b = await world.vm('b', options);
      // A table may have as many entries as its ring; a chain needs as many.
      const kinds =
        queueSize === 1
          ? [WHOLE, { ...WHOLE, indirect: true }]
          : [WHOLE, { ...CHAIN, indirect: true }, CHAIN];
      for (let number = 0; number < ONE_BY_ONE; number++) {
        await a.send(numbered(number), kinds[number % kinds.length]);
        expect(numberOf((await b.receive()).frame)).toBe(number);
        if (number % 20 === 0) await pause(5); // the base has gone to sleep, or not: both must do
      }
      let sent = 0;
      let next = 0;
      await until(`${BURST} datagrams`, () => {
        while (sent < BURST && a.trySend(numbered(sent), WHOLE)) sent++;
        b.pollReceived();
        for (const { frame } of b.received.splice(0)) expect(numberOf(frame)).toBe(next++);
        return next === BURST;
      });
    });
  });
});
