/**
 * Ranked case 12: descriptors whose last close waits for as long as their maker likes, in every place where the base may be the last to have them:
 * with a message, in the queue of a socket that is passed, in the queue of a connection. Nobody waits for them, and they are bounded.
 */
import { describe, expect, test } from 'vitest';
import { native } from '../../src/native.ts';
import { useFixture } from '../support/fixture.ts';
import { encodeMessage, FrontEnd } from '../support/frontend.ts';
import { Lingering, type LingeringKind, NO_LINGERING_EVENTFDS } from '../support/lingering.ts';
import { REQUEST, singleRegion, u64 } from '../support/protocol.ts';
import { until } from '../support/until.ts';

const REGION = {
  guestAddress: 0x4000_0000n,
  size: 65536n,
  userAddress: 0x7000_0000_0000n,
  mapOffset: 0n,
};

describe('descriptors that linger', () => {
  const fixture = useFixture();

  async function restarts(): Promise<number> {
    const status = (await fixture().daemon.status()) as unknown as { workerRestarts: number };
    return status.workerRestarts;
  }

  /** With so many of them; afterwards nobody has waited, nobody was cut off. */
  async function lingering(
    count: number,
    work: (fds: number[]) => Promise<void>,
    kind: LingeringKind = 'sockets',
  ): Promise<void> {
    const { flow, b, c } = fixture();
    const before = await restarts();
    const sockets = await Lingering.start(count, kind);
    try {
      await work(sockets.take());
      // Longer than the watchdog of the turn worker would let it stand still.
      const start = performance.now();
      while (performance.now() - start < 2500) await flow.advance(20);
      await b.frontEnd.getFeatures();
      await c.frontEnd.getFeatures();
      expect(await restarts()).toBe(before);
    } finally {
      await sockets.release();
    }
  }

  /** Sends a message whose descriptors are the base's alone before it can have looked at them. */
  async function pass(front: FrontEnd, message: Buffer, fds: readonly number[]): Promise<void> {
    await front.sendBytes(message.subarray(0, 5), fds);
    for (const fd of fds) native.closeDescriptor(fd);
    await front.sendBytes(message.subarray(5));
  }

  test('where none belongs: refused', async () => {
    const a = await fixture().attacker();
    await lingering(1, async (fds) => {
      const message = encodeMessage(REQUEST.SET_VRING_ENABLE, Buffer.alloc(8), { needReply: true });
      await pass(a.frontEnd, message, fds);
      expect((await a.frontEnd.reply()).payload.readBigUInt64LE()).toBe(1n);
      await fixture().goodPasses(a);
    });
  });

  test.each([
    ['a call descriptor', REQUEST.SET_VRING_CALL, u64(0n)],
    ['memory', REQUEST.ADD_MEM_REG, singleRegion(REGION)],
  ])('as %s: refused', async (_, request, payload) => {
    const a = await fixture().attacker();
    await lingering(1, async (fds) => {
      await pass(a.frontEnd, encodeMessage(request, payload, { needReply: true }), fds);
      expect((await a.frontEnd.reply()).payload.readBigUInt64LE()).toBe(1n);
      await fixture().goodPasses(a);
    });
  });

  /** Eventfds that somebody else's epoll instance watches. */
  const aboutEventfds = `(needs root${NO_LINGERING_EVENTFDS && `; skipped: ${NO_LINGERING_EVENTFDS}`})`;

  test.skipIf(NO_LINGERING_EVENTFDS !== '').each([
    ['kick', REQUEST.SET_VRING_KICK],
    ['call', REQUEST.SET_VRING_CALL],
    ['err', REQUEST.SET_VRING_ERR],
  ])(`as a ring's eventfd, %s, that is given up ${aboutEventfds}`, async (_, request) => {
    const a = await fixture().attacker();
    const work = async ([fd, other]: number[]): Promise<void> => {
      for (const one of [fd, other]) {
        expect(await a.frontEnd.setVringDescriptor(request, 0, one)).toBe(0n);
        native.closeDescriptor(one);
      }
      expect(await a.frontEnd.askNumber(request, u64(0x100n), { needReply: true })).toBe(0n);
      await fixture().goodPasses(a);
    };
    await lingering(2, work, 'eventfds');
  });

  test.skipIf(NO_LINGERING_EVENTFDS !== '')(
    `eventfds, where none belong, and of rings whose front-end goes ${aboutEventfds}`,
    async () => {
      const a = await fixture().attacker();
      const work = async ([fd, call, err]: number[]): Promise<void> => {
        const message = encodeMessage(REQUEST.SET_VRING_ENABLE, Buffer.alloc(8), {
          needReply: true,
        });
        await pass(a.frontEnd, message, [fd]);
        expect((await a.frontEnd.reply()).payload.readBigUInt64LE()).toBe(1n);
        expect(await a.frontEnd.setVringDescriptor(REQUEST.SET_VRING_CALL, 0, call)).toBe(0n);
        expect(await a.frontEnd.setVringDescriptor(REQUEST.SET_VRING_ERR, 0, err)).toBe(0n);
        for (const one of [call, err]) native.closeDescriptor(one);
        a.close();
        await fixture().goodPasses(await fixture().attacker());
      };
      await lingering(3, work, 'eventfds');
    },
  );

  test('in the queue of a socket that is passed', async () => {
    const a = await fixture().attacker();
    await lingering(1, async ([fd]) => {
      const [one, other] = native.unixPair();
      native.send(one, Buffer.alloc(1), 0, 1, Int32Array.of(fd), 1);
      native.closeDescriptor(fd);
      const message = encodeMessage(REQUEST.SET_VRING_ENABLE, Buffer.alloc(8), { needReply: true });
      await pass(a.frontEnd, message, [other]);
      native.closeDescriptor(one);
      expect((await a.frontEnd.reply()).payload.readBigUInt64LE()).toBe(1n);
      await fixture().goodPasses(a);
    });
  });

  test('in the queue of a connection that is closed', async () => {
    const a = await fixture().connectedAttacker();
    await a.frontEnd.getFeatures();
    const { daemon } = fixture();
    await lingering(1, async (fds) => {
      // Both are there before the base reads the first.
      await daemon.freeze();
      try {
        await a.frontEnd.sendBytes(encodeMessage(REQUEST.GET_FEATURES, undefined, { flags: 0 }));
        await a.frontEnd.sendBytes(encodeMessage(REQUEST.GET_FEATURES), fds);
        native.closeDescriptor(fds[0]);
      } finally {
        daemon.thaw();
      }
      await a.frontEnd.untilClosed();
      await fixture().goodPasses(await fixture().attacker());
    });
  });

  test('in the queue of a connection that is turned away', async () => {
    const a = await fixture().attacker();
    const { daemon } = fixture();
    await lingering(1, async (fds) => {
      await daemon.freeze();
      const second = await FrontEnd.connect(daemon.socket('a'));
      try {
        await second.sendBytes(encodeMessage(REQUEST.GET_FEATURES), fds);
        native.closeDescriptor(fds[0]);
      } finally {
        daemon.thaw();
      }
      await second.untilClosed();
      second.close();
      await fixture().goodPasses(a);
    });
  });

  test('more than may wait, for a moment: the front-end waits, and is served when they are gone', async () => {
    const a = await fixture().attacker();
    const gone = await fixture().daemon.count('a', 'disconnects');
    const sockets = await Lingering.start(70);
    try {
      const message = encodeMessage(REQUEST.SET_VRING_ENABLE, Buffer.alloc(8));
      await pass(a.frontEnd, message, sockets.take());
      await a.frontEnd.sendBytes(encodeMessage(REQUEST.GET_FEATURES));
      await fixture().flow.advance(100);
      a.frontEnd.poll();
      expect(a.frontEnd.take(), 'no answer yet').toBeNull();
    } finally {
      await sockets.release();
    }
    expect((await a.frontEnd.reply()).payload).toHaveLength(8);
    expect(await fixture().daemon.count('a', 'disconnects')).toBe(gone);
    await fixture().goodPasses(a);
  });

  test('more than may wait: the connection is closed, and the port serves nobody until they are gone', async () => {
    const { daemon } = fixture();
    const a = await fixture().attacker();
    const before = daemon.descriptors().length;
    const gone = await daemon.count('a', 'disconnects');
    await lingering(70, async (fds) => {
      const message = encodeMessage(REQUEST.SET_VRING_ENABLE, Buffer.alloc(8));
      await pass(a.frontEnd, message, fds);
      await a.frontEnd.untilClosed();
      await daemon.untilState('a', 'waiting');
      const extra = await FrontEnd.connect(daemon.socket('a'));
      await extra.sendBytes(encodeMessage(REQUEST.GET_FEATURES));
      await fixture().flow.advance(100);
      extra.poll();
      expect(extra.take()).toBeNull();
      expect(extra.closed).toBe(false);
      extra.close();
    });
    await until('all to be closed', () => daemon.descriptors().length <= before);
    // Who waited is let in now, and has gone.
    await daemon.untilCount('a', 'disconnects', gone + 2);
    await fixture().goodPasses(await fixture().attacker());
  });
});
