/** The flow with the LAN: how much of it is under way before anything has come back. */
import { expect, test } from 'vitest';
import { EchoFlow } from './echo-flow.ts';
import { B } from './traffic.ts';
import { until } from './until.ts';
import { World } from './world.ts';

test('before the first echo one datagram is under way: the LAN’s host may know no MAC yet', async () => {
  const world = await World.start(); // without an adapter: nothing comes back
  try {
    const flow = new EchoFlow(await world.vm('b'), B);
    flow.start();
    try {
      await until('it to have looked often', () => flow.steps > 50);
      expect(flow.sent).toBe(1);
    } finally {
      flow.stop();
    }
    await world.daemon.untilCount('b', 'noRoute', 1);
    await world.balance();
  } finally {
    await world.close();
  }
});
