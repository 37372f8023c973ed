/** What the last turn left on the LAN: most empty turns don't look there, and a worker that rests between turns must not wait for those. */
import { expect, test } from 'vitest';
import type { Adapter } from '../../src/adapter/adapter.ts';
import { Base } from '../../src/base/base.ts';
import { Counters } from '../../src/counters.ts';
import { native } from '../../src/native.ts';
import type { TurnContext } from '../../src/turn/context.ts';
import { lanPlan } from '../support/lan-plan.ts';

test('a frame on the LAN is unfinished until a turn has looked there', () => {
  const { turn } = new Base(
    native,
    lanPlan([]),
    new Counters(1).buffer,
    () => {},
    () => 1000,
  );
  let frames = 0;
  let looks = 0;
  const adapter = {
    hasWork: () => frames > 0,
    gather: () => {
      looks++;
      frames--;
      return 1;
    },
    release: () => {},
    publish: () => {},
  } as unknown as Adapter;
  const { context } = turn as unknown as { context: TurnContext };
  (context.adapters as Adapter[]).push(adapter);
  for (let turns = 0; turns < 3; turns++) turn.run();
  expect(turn.unfinished).toBe(false);

  frames = 1;
  expect(turn.run()).toBe(0);
  expect(turn.unfinished).toBe(true);
  for (let turns = 0; turn.unfinished; turns++) {
    expect(turns).toBeLessThan(10);
    turn.run();
  }
  expect(looks).toBe(1);
});
