import { expect, test } from 'vitest';
import { pairs, type Placed } from '../../bench/lib/core-distance.ts';

test('only what was measured with the cores placed alike is paired, in order', () => {
  const run = (...distances: Placed['distance'][]) =>
    distances.map((distance, round) => ({ distance, round }));
  const ours = run('near', 'far', 'changed', 'near', 'near');
  const theirs = run('far', 'near', 'unknown', 'far', 'near');
  expect(pairs(ours, theirs).map(([one, other]) => [one.round, other.round])).toEqual([
    [0, 1],
    [3, 4],
    [1, 0],
  ]);
  expect(pairs(run('changed', 'unknown'), run('changed', 'unknown'))).toEqual([]);
});
