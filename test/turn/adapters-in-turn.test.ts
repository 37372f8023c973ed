/** What is kept back of base storage for the LAN may be too little for all adapters: the same one must not always come first. */
import { expect, test } from 'vitest';
import { bareTurn } from '../support/bare-turn.ts';

test('each adapter comes first in turn', () => {
  const { turn, adapters } = bareTurn();
  const order: number[] = [];
  for (let index = 0; index < 3; index++)
    adapters.push({
      hasWork: () => true,
      gather: () => order.push(index),
      release: () => {},
      publish: () => {},
    });
  for (let turns = 0; turns < 3; turns++) turn.run();
  expect(order).toEqual([1, 2, 0, 2, 0, 1, 0, 1, 2]);
});
