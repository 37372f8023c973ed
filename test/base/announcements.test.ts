/** However often a front-end makes its VM appear: five announcements a second, and the last one is never left out. */
import { expect, it } from 'vitest';
import { Announcements } from '../../src/base/announcements.ts';

it('a VM is announced at once, then every 200 ms at most, then once more', () => {
  const said: [number, number][] = [];
  const dues: number[] = [];
  let now = 0;
  const announcements = new Announcements(
    2,
    (time) => dues.push(time),
    (vm) => said.push([vm, now]),
  );
  for (; now < 1000; now++) {
    announcements.wish(0, now);
    if (now === 500) announcements.wish(1, now);
    announcements.tick(now);
  }
  expect(dues.at(-1)).toBe(1000);
  for (; now < 3000; now++) announcements.tick(now);
  expect(said).toEqual([
    ...[0, 200, 400].map((time) => [0, time]),
    [1, 500],
    ...[600, 800, 1000].map((time) => [0, time]),
  ]);
  expect(announcements.tick(now)).toBe(Number.POSITIVE_INFINITY);
});
