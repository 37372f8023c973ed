/** Ranked case 19: connect, configure, pass traffic, close, thousands of times; and close after each step of the start. */
import { describe, expect, test } from 'vitest';
import { useFixture } from '../support/fixture.ts';
import { PROTOCOL_FEATURE } from '../support/protocol.ts';
import { LONG } from '../support/random.ts';
import { until } from '../support/until.ts';
import { QEMU_PROTOCOL_FEATURES, type Vm } from '../support/vm.ts';

const SMALL = {
  queueSize: 16,
  memory: { regions: [{ guestAddress: 0, bytes: 1 << 20 }] },
};

const STEPS: ((a: Vm) => Promise<unknown>)[] = [
  (a) => a.negotiate(),
  async (a) => a.createQueues(),
  (a) => a.applyFeatures(),
  (a) => a.enable(0, true),
  (a) => a.enable(1, true),
  (a) => a.shareMemory(),
  async (a) => a.fillReceive(),
  (a) => a.startRing(0, 0),
  (a) => a.startRing(1, 0),
  (a) => fixtureOf(a),
  (a) => a.stopRing(1),
  (a) => a.stopRing(0),
];
let fixtureOf: (a: Vm) => Promise<void>;

describe('connection cycles', () => {
  const fixture = useFixture();
  fixtureOf = (a) => fixture().goodPasses(a);

  test('closed after every step of the way', async () => {
    const { daemon } = fixture();
    const before = await daemon.count('a', 'disconnects');
    for (let last = 0; last <= STEPS.length; last++) {
      const a = await fixture().connectedAttacker(SMALL);
      for (const step of STEPS.slice(0, last)) await step(a);
      a.close();
      // One that comes before the base has seen the other go is turned away, and the status is told of neither.
      await daemon.untilCount('a', 'disconnects', before + last + 1);
    }
    await fixture().goodPasses(await fixture().attacker());
  });

  test('closed at any byte of the way', { timeout: LONG ? 600_000 : 60_000 }, async () => {
    const { daemon } = fixture();
    const cut = new Error('cut');
    /** The whole way, but for what is beyond so many bytes; how many it was. */
    const go = async (limit: number): Promise<number> => {
      const before = await daemon.count('a', 'disconnects');
      const a = await fixture().connectedAttacker(SMALL);
      const { frontEnd } = a;
      const send = frontEnd.trySend.bind(frontEnd);
      let sent = 0;
      frontEnd.trySend = (bytes, descriptors) => {
        const part = Math.min(bytes.length, limit - sent);
        if (part > 0) send(bytes.subarray(0, part), descriptors);
        sent += part;
        if (part < bytes.length) throw cut;
        return part;
      };
      try {
        await a.negotiate();
        await a.run();
      } catch (error) {
        if (error !== cut) throw error;
      }
      a.close();
      await daemon.untilCount('a', 'disconnects', before + 1);
      return sent;
    };
    const whole = await go(Number.POSITIVE_INFINITY);
    for (let limit = 1; limit < whole; limit += LONG ? 1 : 7) await go(limit);
    await fixture().goodPasses(await fixture().attacker());
  });

  test('many cycles leave no descriptor, mapping or memory behind', {
    timeout: LONG ? 600_000 : 60_000,
  }, async () => {
    const { daemon } = fixture();
    const cycle = async (i: number) => {
      const protocolFeatures = i % 2 === 0 ? QEMU_PROTOCOL_FEATURES : PROTOCOL_FEATURE.REPLY_ACK;
      const a = await fixture().attacker({ ...SMALL, protocolFeatures });
      if (i % 3 === 0) await fixture().goodPasses(a);
      a.close();
      await daemon.untilState('a', 'waiting');
    };
    // The heap has its size after these: over ten thousand it goes up and down by some 50 MB.
    for (let i = 0; i < (LONG ? 5000 : 50); i++) await cycle(i);
    const descriptors = daemon.descriptors().length;
    const resident = daemon.residentBytes();
    const rounds = LONG ? 10000 : 250;
    for (let i = 0; i < rounds; i++) await cycle(i);
    await until('the descriptors of before', () => daemon.descriptors().length <= descriptors);
    // each cycle maps 1 MiB: a leak of them would be seen at once
    expect(daemon.residentBytes() - resident).toBeLessThan(40 << 20);
  });
});
