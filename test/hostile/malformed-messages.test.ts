/** Ranked case 11: messages that are no messages. Framing is lost, so the connection is closed; the port waits for the next. */
import { describe, expect, test } from 'vitest';
import { useFixture } from '../support/fixture.ts';
import { ConnectionClosed, encodeMessage, FrontEnd } from '../support/frontend.ts';
import { REQUEST, u64, vringState } from '../support/protocol.ts';
import { LONG, seeded } from '../support/random.ts';
import { until } from '../support/until.ts';
import { QEMU_PROTOCOL_FEATURES } from '../support/vm.ts';

const MESSAGES: Record<string, Buffer> = {
  'size 0xffffffff': encodeMessage(REQUEST.SET_FEATURES, u64(1n), { size: 0xffffffff }),
  'size 0x80000000': encodeMessage(REQUEST.SET_FEATURES, u64(1n), { size: 0x80000000 }),
  'size 65536': encodeMessage(REQUEST.SET_FEATURES, Buffer.alloc(65536)),
  'version 0': encodeMessage(REQUEST.GET_FEATURES, undefined, { flags: 0 }),
  'version 2': encodeMessage(REQUEST.GET_FEATURES, undefined, { flags: 2 }),
  'version 3': encodeMessage(REQUEST.GET_FEATURES, undefined, { flags: 3 }),
  'a flag that nobody knows': encodeMessage(REQUEST.GET_FEATURES, undefined, { flags: 0x11 }),
  'the reply bit': encodeMessage(REQUEST.GET_FEATURES, undefined, { flags: 5 }),
  'SET_FEATURES of 7 bytes': encodeMessage(REQUEST.SET_FEATURES, Buffer.alloc(7)),
  'SET_FEATURES of 9 bytes': encodeMessage(REQUEST.SET_FEATURES, Buffer.alloc(9)),
  'SET_VRING_NUM without a payload': encodeMessage(REQUEST.SET_VRING_NUM),
  'SET_VRING_ADDR of 39 bytes': encodeMessage(REQUEST.SET_VRING_ADDR, Buffer.alloc(39)),
  'GET_VRING_BASE of 4 bytes': encodeMessage(REQUEST.GET_VRING_BASE, Buffer.alloc(4)),
};

describe('malformed messages', () => {
  const fixture = useFixture();

  for (const [name, bytes] of Object.entries(MESSAGES)) {
    test(name, async () => {
      const { daemon } = fixture();
      const before = await daemon.count('a', 'malformedMessages');
      const a = await fixture().connectedAttacker();
      await a.frontEnd.negotiate(QEMU_PROTOCOL_FEATURES);
      await a.frontEnd.sendBytes(bytes).catch(ignoreClosed);
      await a.frontEnd.untilClosed();
      await daemon.untilCount('a', 'malformedMessages', before + 1);
      // the next honest front-end is served
      a.close();
      await fixture().goodPasses(await fixture().attacker());
    });
  }

  test('a message in single bytes is put together', async () => {
    const a = await fixture().connectedAttacker();
    for (const byte of encodeMessage(REQUEST.GET_FEATURES)) {
      await a.frontEnd.sendBytes(Buffer.from([byte]));
      await fixture().flow.advance(1);
    }
    const reply = await a.frontEnd.reply();
    expect(reply.request).toBe(REQUEST.GET_FEATURES);
    expect(reply.payload.length).toBe(8);
  });

  test('a hundred messages in one write are all answered, in order', async () => {
    const a = await fixture().connectedAttacker();
    const kinds = [REQUEST.GET_FEATURES, REQUEST.GET_PROTOCOL_FEATURES];
    const messages = Array.from({ length: 100 }, (_, i) => encodeMessage(kinds[i % 2]));
    await a.frontEnd.sendBytes(Buffer.concat(messages));
    for (let i = 0; i < 100; i++) expect((await a.frontEnd.reply()).request).toBe(kinds[i % 2]);
  });

  test('random bytes', async () => {
    const random = seeded();
    const rounds = LONG ? 5000 : 60;
    const { daemon } = fixture();
    const over = async () =>
      (await daemon.count('a', 'disconnects')) + (await daemon.count('a', 'refusedConnections'));
    const before = await over();
    for (let i = 0; i < rounds; i++) {
      const one = await FrontEnd.connect(daemon.socket('a'));
      fixture().connections++;
      await one.sendBytes(random.bytes(random.between(12, 2000))).catch(ignoreClosed);
      one.close();
      // The state can still be that of the time before: the kernel has taken the connection, and the base may not have yet.
      await until('its end', async () => (await over()) === before + i + 1);
    }
    await daemon.untilState('a', 'waiting');
    await fixture().goodPasses(await fixture().attacker());
  });

  test('random requests with a good frame and random payloads', async () => {
    const random = seeded();
    const rounds = LONG ? 20000 : 1500;
    const sizes = [0, 4, 8, 12, 20, 40, 72];
    let one: FrontEnd | null = null;
    for (let i = 0; i < rounds; i++) {
      if (one === null) {
        await fixture().daemon.untilState('a', 'waiting');
        one = await FrontEnd.connect(fixture().daemon.socket('a'));
        fixture().connections++;
        await one.negotiate(QEMU_PROTOCOL_FEATURES).catch(ignoreClosed);
      }
      const index = random.chance(0.7) ? random.below(4) : random.word();
      const payload = random.chance(0.5)
        ? vringState(index, random.chance(0.5) ? random.below(512) : random.word())
        : random.bytes(random.pick(sizes));
      const message = encodeMessage(random.between(1, 46), payload, {
        needReply: random.chance(0.5),
      });
      try {
        await one.sendBytes(message);
        one.poll();
        while (one.take() !== null);
      } catch (error) {
        ignoreClosed(error);
      }
      if (one.closed || random.chance(0.01)) {
        one.close();
        one = null;
      }
    }
    one?.close();
    await fixture().goodPasses(await fixture().attacker());
  });
});

function ignoreClosed(error: unknown): void {
  if (!(error instanceof ConnectionClosed)) throw error;
}
