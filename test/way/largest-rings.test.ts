/** Rings of 32768 entries, the most that there may be, go round: nothing is lost or reordered, with an input ring that gives back in order, too. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { BOTH_FORMATS, FORMATS } from '../support/formats.ts';
import { parse } from '../support/packets.ts';
import { FEATURE } from '../support/protocol.ts';
import { LONG } from '../support/random.ts';
import { A, B, udpFrame } from '../support/traffic.ts';
import { until } from '../support/until.ts';
import { LINUX_FEATURES } from '../support/vm.ts';
import { World } from '../support/world.ts';

const SIZE = 32_768;
const ALL = LONG ? 400_000 : SIZE + 2000;
const STEP = 500;
const WINDOW = 5000;
const MOST = LONG ? 300_000 : 50_000;
const OPTIONS = {
  queueSize: SIZE,
  receiveBytes: 128,
  transmitBytes: 128,
  memory: { regions: [{ guestAddress: 0, bytes: 64 << 20 }] },
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

function numbered(number: number): Buffer {
  const payload = Buffer.alloc(20);
  payload.writeUInt32BE(number);
  return udpFrame(A, B.ip, payload);
}
const LAYOUT = [12 + numbered(0).length];

describe.each(FORMATS)('rings of 32768 entries: $format', ({ packed }) => {
  test('every datagram comes, in order', { timeout: MOST + 10_000 }, async () => {
    const a = await world.vm('a', { ...OPTIONS, packed });
    const features = LINUX_FEATURES | FEATURE.IN_ORDER;
    const b = await world.vm('b', { ...OPTIONS, packed, features });
    let sent = 0;
    let next = 0;
    await until(
      `${ALL} datagrams`,
      () => {
        for (let count = 0; count < STEP && sent < ALL && sent - next < WINDOW; count++) {
          if (!a.trySend(numbered(sent), { layout: LAYOUT, publish: false })) break;
          sent++;
        }
        a.transmitQueue().publish();
        b.pollReceived();
        for (const { frame } of b.received.splice(0)) {
          const number = parse(frame).udp!.payload.readUInt32BE();
          if (number !== next++) expect(number, 'the next one').toBe(next - 1);
        }
        return next === ALL;
      },
      MOST,
    );
  });
});
