/** The address list against a Map: whatever is set is found, by whoever set it last, however the list grows. */
import { expect, test } from 'vitest';
import { AddressList, NOBODY } from '../../src/routing/address-list.ts';
import { seeded } from '../support/random.ts';

test('finds what was set, and nobody else', () => {
  const random = seeded();
  for (let round = 0; round < 40; round++) {
    const list = new AddressList(random.between(1, 64), random.word() | 0);
    const expected = new Map<number, number>();
    // 0.0.0.0 looks like an empty place, 255.255.255.255 like nobody.
    const keys = [
      0,
      -1,
      ...Array.from({ length: random.between(1, 2000) }, () => random.word() | 0),
    ];
    for (const key of keys) {
      if (random.chance(0.1)) continue;
      const owner = random.below(64);
      list.set(key, owner);
      expected.set(key, owner);
      if (random.chance(0.05)) {
        list.set(key, owner + 1);
        expected.set(key, owner + 1);
      }
    }
    for (const key of [...keys, random.word() | 0])
      expect(list.find(key)).toBe(expected.get(key) ?? NOBODY);
    expect(list.size).toBe(expected.size);
    expect(new Map(list.entries())).toEqual(expected);
  }
});
