/** An adapter whose interface is there again and can't be opened (no descriptors, no memory just now) is tried again until it can, ever more seldom. */
import { expect, test } from 'vitest';
import { Adapter } from '../../src/adapter/adapter.ts';
import type { AdapterContext } from '../../src/adapter/context.ts';
import { Counters } from '../../src/counters.ts';
import { native } from '../../src/native.ts';
import { lanPlan } from '../support/lan-plan.ts';

const SECOND = 1000;

test('tried on and on, and said once', () => {
  const plan = lanPlan([{ addresses: ['10.77.0.10'] }]);
  let now = 0;
  const asked: number[] = [];
  const said: string[] = [];
  const adapter = new Adapter({
    native,
    plan: { name: 'outside', interface: 'lo', mac: null, nextHop: null },
    network: plan.networks[0],
    counters: new Counters(2),
    port: 1,
    senders: 2,
    now: () => now,
    due: () => {},
    log: (_level: string, message: string) => said.push(message),
    onChange: () => {},
    requestOpen: () => asked.push(now),
  } as unknown as AdapterContext);
  adapter.open();
  // Gone while it was being opened, as if it had been open.
  adapter.state = 'gone';
  for (; now < 3600 * SECOND; now += SECOND) {
    if (now > 0) adapter.tick(now);
    if (asked.at(-1) === now) adapter.refused('EMFILE');
  }
  const pauses = asked.slice(1).map((at, index) => at - asked[index]);
  expect(pauses.slice(0, 6)).toEqual([1, 2, 4, 8, 16, 32].map((seconds) => seconds * SECOND));
  expect(new Set(pauses.slice(6))).toEqual(new Set([32 * SECOND]));
  expect(asked.at(-1)).toBeGreaterThan(3500 * SECOND);
  expect(said.filter((line) => line.includes('EMFILE'))).toHaveLength(1);
  adapter.close('enough');
  const count = asked.length;
  adapter.tick(now + 100 * SECOND);
  expect(asked).toHaveLength(count);
});
