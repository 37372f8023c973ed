/**
 * A front-end that pipelines valid requests without end, hundreds in one write: they cost it nothing, and the worker time in which no
 * datagram moves. It gets its allowance, then a share; others are answered and served as before.
 */
import { describe, expect, test } from 'vitest';
import { useFixture } from '../support/fixture.ts';
import { encodeMessage, type FrontEnd } from '../support/frontend.ts';
import { REQUEST, vringState } from '../support/protocol.ts';
import { until } from '../support/until.ts';

const ONE = encodeMessage(REQUEST.SET_VRING_ENABLE, vringState(1, 1));
const MANY = Buffer.concat(Array.from({ length: 400 }, () => ONE));
/** Requests that a front-end may well send at once: a device's start, and much more. */
const AT_ONCE = 500;

/** Of a core, what the base may use for it: a quarter for the requests, and what goes with them. */
const MOST = 0.5;

/** Fills a front-end's socket with requests until `over`. */
async function flood(frontEnd: FrontEnd, over: () => boolean | Promise<boolean>): Promise<void> {
  let at = 0;
  await until('the flood to be over', () => {
    for (let writes = 0; writes < 50; writes++) {
      const sent = frontEnd.trySend(MANY.subarray(at));
      if (sent <= 0) break;
      at = (at + sent) % MANY.length;
    }
    return over();
  });
}

describe('a flood of requests', () => {
  const fixture = useFixture();
  const served = () => fixture().daemon.count('a', 'messages');

  test('what one front-end may send at once is served at once', async () => {
    const a = await fixture().connectedAttacker();
    const before = await served();
    await a.frontEnd.sendBytes(Buffer.concat(Array.from({ length: AT_ONCE }, () => ONE)));
    await until('all of them', async () => (await served()) - before >= AT_ONCE);
    a.close();
    await fixture().goodPasses(await fixture().attacker());
  });

  test('who goes on gets a share of the time, connected anew or not', async () => {
    /** Of a core, what the base uses while the socket is kept full for so many milliseconds. */
    const share = async (frontEnd: FrontEnd, milliseconds: number) => {
      const { daemon } = fixture();
      const [before, begin] = [daemon.processorTicks(), performance.now()];
      await flood(frontEnd, () => performance.now() - begin > milliseconds);
      return (10 * (daemon.processorTicks() - before)) / (performance.now() - begin);
    };
    let a = await fixture().connectedAttacker();
    const before = await served();
    // Its allowance is used up by then.
    await flood(a.frontEnd, async () => (await served()) - before > 40_000);
    await fixture().flow.advance(50); // nobody else waits
    expect(await share(a.frontEnd, 2000)).toBeLessThan(MOST);
    a.close();
    await fixture().daemon.untilState('a', 'waiting');
    a = await fixture().connectedAttacker();
    expect(await share(a.frontEnd, 2000)).toBeLessThan(MOST);
    await fixture().flow.advance(50);
    a.close();
    await fixture().goodPasses(await fixture().attacker());
  });
});
