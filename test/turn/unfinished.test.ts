/** What the last turn left on the LAN: most empty turns don't look there, and a worker that rests between turns must not wait for those. */
import { expect, test } from 'vitest';
import { bareTurn } from '../support/bare-turn.ts';

test('a frame on the LAN is unfinished until a turn has looked there', () => {
  const { turn, adapters } = bareTurn();
  let frames = 0;
  let looks = 0;
  adapters.push({
    hasWork: () => frames > 0,
    gather: () => {
      looks++;
      frames--;
      return 1;
    },
    release: () => {},
    publish: () => {},
  });
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
