import { describe, expect, test } from 'vitest';
import {
  Allowance,
  REQUESTS_SHARE,
  SharedTime,
  SIGNALS_SHARE,
} from '../../src/vhost-user/allowance.ts';

/** Rounds of half a millisecond, each as soon as it may be, for so many milliseconds of the clock: how long they took in all. */
function flood(allowances: Allowance[], milliseconds: number, from = 0): number {
  const next = allowances.map(() => from);
  let now = from;
  let taken = 0;
  while (now < from + milliseconds) {
    const index = next.indexOf(Math.min(...next));
    const start = Math.max(now, next[index]);
    now = start + 0.5;
    taken += 0.5;
    next[index] = now + allowances[index].spend(now, 0.5);
  }
  return taken;
}

describe('time for requests', () => {
  test('who asks for a while is not kept waiting', () => {
    const allowance = new Allowance(new SharedTime(REQUESTS_SHARE));
    for (let round = 0; round < 190; round++) expect(allowance.spend((round + 1) / 2, 0.5)).toBe(0);
  });

  test('who goes on and on gets a quarter', () => {
    const allowance = new Allowance(new SharedTime(REQUESTS_SHARE));
    flood([allowance], 1000);
    const taken = flood([allowance], 10_000, 2000);
    expect(taken).toBeGreaterThan(2300);
    expect(taken).toBeLessThan(2700);
  });

  test('many who do so share it', () => {
    const shared = new SharedTime(REQUESTS_SHARE);
    const all = Array.from({ length: 64 }, () => new Allowance(shared));
    flood(all, 10_000);
    const taken = flood(all, 20_000, 10_000);
    expect(taken).toBeLessThan(0.3 * 20_000);
  });

  test('who waits for each answer is not kept waiting', () => {
    const allowance = new Allowance(new SharedTime(REQUESTS_SHARE));
    for (let now = 0; now < 10_000; now += 0.1) expect(allowance.spend(now, 0.02)).toBe(0);
  });

  test('who was quiet may ask again', () => {
    const allowance = new Allowance(new SharedTime(REQUESTS_SHARE));
    flood([allowance], 1000);
    for (let round = 0; round < 150; round++)
      expect(allowance.spend(10_000 + (round + 1) / 2, 0.5)).toBe(0);
  });

  test('requests of a quarter of a second each get no more', () => {
    const allowance = new Allowance(new SharedTime(REQUESTS_SHARE));
    let now = 0;
    let taken = 0;
    while (now < 60_000) {
      now += 250;
      taken += 250;
      now += allowance.spend(now, 250);
    }
    expect(taken).toBeLessThan(0.27 * now);
  });

  test('nor do those of several VMs leave the others nothing', () => {
    const shared = new SharedTime(REQUESTS_SHARE);
    const all = Array.from({ length: 12 }, () => ({ allowance: new Allowance(shared), at: 0 }));
    let now = 0;
    let taken = 0;
    while (now < 300_000) {
      const next = all.reduce((first, one) => (one.at < first.at ? one : first));
      now = Math.max(now, next.at) + 250;
      taken += 250;
      next.at = now + next.allowance.spend(now, 250);
    }
    expect(taken).toBeLessThan(0.6 * now);
  });

  test('nobody waits for more than a second', () => {
    const shared = new SharedTime(REQUESTS_SHARE);
    const all = Array.from({ length: 500 }, () => new Allowance(shared));
    for (const allowance of all)
      for (let round = 0; round < 60; round++)
        expect(allowance.spend(0, 2)).toBeLessThanOrEqual(1000);
  });

  test('who asks beside those who asked for much, and do no longer, earns as before', () => {
    const shared = new SharedTime(REQUESTS_SHARE);
    const others = Array.from({ length: 64 }, () => new Allowance(shared));
    flood(others, 10_000);
    const one = new Allowance(shared);
    flood([one], 1000, 20_000);
    const taken = flood([one], 10_000, 22_000);
    expect(taken).toBeGreaterThan(2300);
  });

  test('what signals may take is less', () => {
    const allowance = new Allowance(new SharedTime(SIGNALS_SHARE));
    flood([allowance], 2000);
    const taken = flood([allowance], 10_000, 3000);
    expect(taken).toBeGreaterThan(900);
    expect(taken).toBeLessThan(1200);
  });

  test('a round is one look’s, whoever is served in it', () => {
    const shared = new SharedTime(REQUESTS_SHARE);
    expect(shared.roundEnd(7, 100)).toBe(100.5);
    expect(shared.roundEnd(7, 100.4)).toBe(100.5);
    expect(shared.roundEnd(8, 100.6)).toBeCloseTo(101.1);
  });
});
