/** A fresh look: when all have shown it, or after a moment where one does not. */
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { Refresh } from '../../src/admin/refresh.ts';

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

it('waits for nobody where no turn worker runs', async () => {
  const looked = new Refresh(() => 0).request();
  expect(vi.getTimerCount()).toBe(0);
  await looked;
});

it('waits for every worker, and not longer than a moment', async () => {
  const refresh = new Refresh(() => 2);
  const done: string[] = [];
  const shown = refresh.request().then(() => done.push('shown'));
  const silent = refresh.request().then(() => done.push('silent'));
  for (const id of [1, 2, 1, 1]) refresh.take(id);
  await shown;
  expect(done).toEqual(['shown']);
  expect(vi.getTimerCount()).toBe(1);
  vi.advanceTimersByTime(200);
  await silent;
  refresh.take(2);
  expect(done).toEqual(['shown', 'silent']);
  expect(vi.getTimerCount()).toBe(0);
});
