/** What is kept back of base storage for the LAN may be too little for all adapters: the same one must not always come first. */
import { expect, test } from 'vitest';
import type { Adapter } from '../../src/adapter/adapter.ts';
import { Base } from '../../src/base/base.ts';
import { Counters } from '../../src/counters.ts';
import { native } from '../../src/native.ts';
import type { TurnContext } from '../../src/turn/context.ts';
import { lanPlan } from '../support/lan-plan.ts';

test('each adapter comes first in turn', () => {
  const { turn } = new Base(
    native,
    lanPlan([]),
    new Counters(1).buffer,
    () => {},
    () => 1000,
  );
  const order: number[] = [];
  const { adapters } = (turn as unknown as { context: TurnContext & { adapters: Adapter[] } })
    .context;
  for (let index = 0; index < 3; index++)
    adapters.push({
      hasWork: () => true,
      gather: () => order.push(index),
      release: () => {},
      publish: () => {},
    } as unknown as Adapter);
  for (let turns = 0; turns < 3; turns++) turn.run();
  expect(order).toEqual([1, 2, 0, 2, 0, 1, 0, 1, 2]);
});
