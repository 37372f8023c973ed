/** Ranked case 17: a front-end floods requests and never reads the replies; another loops over valid, expensive ones. */
import { describe, expect, test } from 'vitest';
import { useFixture } from '../support/fixture.ts';
import { encodeMessage } from '../support/frontend.ts';
import { REQUEST } from '../support/protocol.ts';
import { until } from '../support/until.ts';

describe('replies are not read', () => {
  const fixture = useFixture();

  test('GET_FEATURES for ever without reading: closed, counted', async () => {
    const before = await fixture().daemon.count('a', 'slowClients');
    const a = await fixture().connectedAttacker();
    const many = Buffer.concat(
      Array.from({ length: 500 }, () => encodeMessage(REQUEST.GET_FEATURES)),
    );
    let at = 0;
    await until(
      'the connection to be closed',
      () => {
        for (let i = 0; i < 50; i++) {
          const sent = a.frontEnd.trySend(many.subarray(at));
          if (sent === -32 || sent === -104) return true;
          if (sent <= 0) return false;
          at = (at + sent) % many.length;
        }
        return false;
      },
      20000,
    );
    await fixture().daemon.untilCount('a', 'slowClients', before + 1);
    a.close();
    await fixture().goodPasses(await fixture().attacker());
  });

  test("a flood of requests does not keep another port's answer", async () => {
    const a = await fixture().connectedAttacker();
    const many = Buffer.concat(
      Array.from({ length: 200 }, () => encodeMessage(REQUEST.GET_FEATURES)),
    );
    let at = 0;
    let answers = 0;
    for (let i = 0; i < 300; i++) {
      const sent = a.frontEnd.trySend(many.subarray(at));
      if (sent > 0) at = (at + sent) % many.length;
      a.frontEnd.poll();
      while (a.frontEnd.take() !== null) answers++;
      if (i % 10 === 0) await fixture().b.frontEnd.getFeatures();
    }
    expect(answers).toBeGreaterThan(0);
    await fixture().flow.advance();
  });

  test('the same valid memory table again and again', async () => {
    const a = await fixture().attacker({ protocolFeatures: 8n });
    for (let i = 0; i < 300; i++) {
      expect(await a.frontEnd.setMemoryTable(a.memory.regions)).toBe(0n);
    }
    await fixture().goodPasses(a);
  });
});
