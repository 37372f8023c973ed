/**
 * Ranked cases 11 and 18: a front-end stops in the middle of a message, or connects and never speaks. Other ports go on; the
 * connection is closed at its deadline; a second front-end on a busy port is turned away.
 */
import { describe, expect, test } from 'vitest';
import { useFixture } from '../support/fixture.ts';
import { encodeMessage, FrontEnd } from '../support/frontend.ts';
import { REQUEST, u64 } from '../support/protocol.ts';
import { LONG } from '../support/random.ts';
import { QEMU_PROTOCOL_FEATURES } from '../support/vm.ts';

/** Generous: the deadline itself (2 s for a message, 10 s for the start) is the base's. */
const MESSAGE_DEADLINE = 8000;
const START_DEADLINE = 20000;

describe('half a message', () => {
  const fixture = useFixture();

  for (const bytes of [1, 3, 11, 12, 15, 19]) {
    test(`${bytes} bytes of SET_FEATURES, then silence`, async () => {
      const before = await fixture().daemon.count('a', 'messageTimeouts');
      const a = await fixture().connectedAttacker();
      await a.frontEnd.negotiate(QEMU_PROTOCOL_FEATURES);
      await a.frontEnd.sendBytes(encodeMessage(REQUEST.SET_FEATURES, u64(1n)).subarray(0, bytes));
      await fixture().flow.advance(50); // nobody else waits
      await a.frontEnd.untilClosed(MESSAGE_DEADLINE);
      await fixture().daemon.untilCount('a', 'messageTimeouts', before + 1);
      a.close();
      await fixture().goodPasses(await fixture().attacker());
    });
  }

  test('a connection that never says a word is closed', async () => {
    const before = await fixture().daemon.count('a', 'messageTimeouts');
    const a = await fixture().connectedAttacker();
    await a.frontEnd.untilClosed(START_DEADLINE);
    await fixture().daemon.untilCount('a', 'messageTimeouts', before + 1);
  });

  test('a connection that ends in the middle of a message', async () => {
    const message = encodeMessage(REQUEST.SET_FEATURES, u64(1n));
    for (let bytes = 0; bytes < message.length; bytes++) {
      const one = await FrontEnd.connect(fixture().daemon.socket('a'));
      fixture().connections++;
      await one.getFeatures();
      await one.sendBytes(message.subarray(0, bytes));
      one.close();
      await fixture().daemon.untilState('a', 'waiting');
    }
    await fixture().goodPasses(await fixture().attacker());
  });

  test('others who connect to a busy port are turned away at once', async () => {
    const a = await fixture().attacker();
    const before = await fixture().daemon.count('a', 'refusedConnections');
    const rounds = LONG ? 1000 : 100;
    for (let i = 0; i < rounds; i++) {
      const extra = await FrontEnd.connect(fixture().daemon.socket('a'));
      await extra.untilClosed();
      extra.close();
    }
    expect(await fixture().daemon.count('a', 'refusedConnections')).toBe(before + rounds);
    await fixture().goodPasses(a);
  });
});
