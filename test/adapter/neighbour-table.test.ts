/** The neighbour table against a Map, under random insertions, removals and look-ups. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  FAILED,
  INCOMPLETE,
  NEIGHBOURS,
  NeighbourTable,
  REACHABLE,
} from '../../src/adapter/neighbour-table.ts';

describe('neighbour table', () => {
  it('finds what was put in, whatever was taken out', () => {
    const key = fc.integer({ min: 1, max: 60 });
    const step = fc.record({ insert: fc.boolean(), key });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 300 }), fc.integer(), (steps, seed) => {
        const table = new NeighbourTable(seed);
        const model = new Map<number, number>();
        for (const { insert, key } of steps) {
          const entry = model.get(key);
          if (insert && entry === undefined) model.set(key, table.insert(key));
          else if (!insert && entry !== undefined) {
            table.remove(entry);
            model.delete(key);
          }
          expect(table.size).toBe(model.size);
        }
        for (let key = 1; key <= 60; key++) expect(table.find(key)).toBe(model.get(key) ?? -1);
        expect(new Set(model.values()).size).toBe(model.size);
      }),
    );
  });

  it('has a seed: addresses that would all begin at one place begin at many', () => {
    const places = (table: NeighbourTable) => {
      const { home } = table as unknown as { home(key: number): number };
      return (key: number) => home.call(table, key);
    };
    const known = places(new NeighbourTable(0));
    const keys: number[] = [];
    for (let key = 1; keys.length < 256; key++) if (known(key) === 0) keys.push(key);
    const seeds = Array.from({ length: 20 }, () => new NeighbourTable());
    for (const table of seeds) expect(new Set(keys.map(places(table))).size).toBeGreaterThan(128);
  });

  it('is bounded, and a full one still finds and misses', () => {
    const table = new NeighbourTable(1);
    for (let key = 1; key <= NEIGHBOURS; key++) expect(table.insert(key)).toBeGreaterThanOrEqual(0);
    expect(table.insert(5000)).toBe(-1);
    expect(table.find(5000)).toBe(-1);
    for (let key = 1; key <= NEIGHBOURS; key++) expect(table.keys[table.find(key)]).toBe(key);
  });

  it('gives up what failed or was not used, never what is waited for', () => {
    const table = new NeighbourTable();
    for (let key = 1; key <= NEIGHBOURS; key++) table.insert(key);
    expect(table.states.every((state) => state === INCOMPLETE)).toBe(true);
    expect(table.victim(false)).toBe(-1);
    for (let entry = 0; entry < 10; entry++) table.become(entry, REACHABLE);
    table.used.fill(1);
    table.used[7] = 0;
    expect(table.victim(false)).toBe(7);
    table.used.fill(1);
    expect(table.victim(false), 'all are used: one all the same').toBeLessThan(10);
    expect(table.victim(true), 'none has failed').toBe(-1);
    for (const entry of [500, 400]) table.become(entry, FAILED);
    expect([table.victim(true), table.victim(false)], 'the first that failed').toEqual([500, 500]);
    table.become(500, REACHABLE);
    expect(table.victim(true)).toBe(400);
    table.remove(400);
    expect(table.victim(true)).toBe(-1);
  });

  it('keeps what is used all the time, gives up what is not', () => {
    const table = new NeighbourTable();
    for (let key = 1; key <= NEIGHBOURS; key++) table.become(table.insert(key), REACHABLE);
    table.used.fill(0);
    for (let key = NEIGHBOURS + 1; key <= NEIGHBOURS * 3; key++) {
      for (let used = 1; used <= 10; used++) table.used[table.find(used)] = 1;
      table.remove(table.victim(false));
      const entry = table.insert(key);
      table.become(entry, REACHABLE);
      table.used[entry] = 0;
    }
    for (let used = 1; used <= 10; used++) expect(table.find(used)).toBeGreaterThanOrEqual(0);
    expect(table.find(11)).toBe(-1);
  });
});
