/**
 * Ranked case 21: what one VM can take of a turn, counted in datagrams and not in time: whole bases in this process, every VM's rings filled by
 * the test before each turn. `npm run bench -- fairness` measures the same as rates and round trips.
 */
import { afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { TurnContext } from '../../src/turn/context.ts';
import {
  BURST,
  LARGEST,
  ONE_BYTE_EACH,
  SEGMENTING,
  Site,
  SIZE,
  SMALL,
  VMS,
} from '../support/site.ts';

let site: Site;
beforeAll(() => {
  site = new Site();
});
beforeEach(() => site.begin(1));
afterEach(() => site.end());

describe('a flooding VM and one that sends now and then', () => {
  const FLOODS = {
    'of 64 bytes': SMALL,
    'of one byte per descriptor': ONE_BYTE_EACH,
    'of 64 KiB': LARGEST,
  };
  for (const [name, load] of Object.entries(FLOODS)) {
    test(`datagrams ${name}: turns are short while it does`, () => {
      site.prepare(1, load);
      site.prepare(2, SMALL);
      site.send(1);
      const alone = site.turn()[1];
      let [before, sum] = [0, 0];
      for (let i = 0; i < 200; i++) {
        site.send(1);
        site.send(2, 1);
        const [, flood, light] = site.turn();
        expect(light).toBe(1);
        expect(flood + before, 'it goes on, every other turn at least').toBeGreaterThan(0);
        before = flood;
        if (i < 8) continue;
        sum += flood;
        expect(flood).toBeLessThanOrEqual(8);
        expect(flood * load.descriptors).toBeLessThan(64 + load.descriptors);
        expect(flood * load.bytes).toBeLessThan((32 << 10) + load.bytes);
      }
      expect(sum, 'it has every other turn').toBeGreaterThanOrEqual(192 / 2);
      // Once the other has been quiet for a while it may have all again, or half of it when its turn to be greedy is on.
      site.send(1);
      site.turn(20);
      site.send(1);
      expect(site.turn()[1]).toBeGreaterThanOrEqual(alone / 2);
    });
  }

  test('one that holds back every other turn gains nothing', () => {
    site.prepare(1, SMALL);
    site.prepare(2, SMALL);
    let most = 0;
    for (let i = 0; i < 200; i++) {
      site.send(1, i % 2 === 0 ? SIZE : 0);
      site.send(2, 1);
      const [, flood] = site.turn();
      if (i > 12) most = Math.max(most, flood);
    }
    expect(most).toBeLessThanOrEqual(8);
  });
});

describe('who is light', () => {
  test('few datagrams of many descriptors are not little', () => {
    site.prepare(1, ONE_BYTE_EACH);
    site.prepare(2, SMALL);
    let sum = 0;
    for (let i = 0; i < 200; i++) {
      site.send(1, 3);
      site.send(2, 1);
      const [, flood, light] = site.turn();
      expect(light).toBe(1);
      if (i < 8) continue;
      expect(flood).toBeLessThanOrEqual(1);
      sum += flood;
    }
    expect(sum).toBeGreaterThanOrEqual(192 / 2);
  });

  test('few datagrams in each of many short turns are not little', () => {
    site.prepare(1, SMALL);
    site.prepare(2, SMALL);
    for (let i = 0; i < 400; i++) {
      site.send(1);
      site.send(2, 4);
      const [, flood, many] = site.turn(0.001); // four in a microsecond
      expect(many).toBe(4);
      if (i >= 100) expect(flood).toBeGreaterThanOrEqual(64);
    }
  });

  test('who was light and now sends much is not held up by what it was', () => {
    site.prepare(1, SMALL);
    for (let i = 0; i < 50; i++) {
      site.send(1, 1);
      expect(site.turn()[1]).toBe(1);
    }
    for (let i = 0; i < 20; i++) {
      site.send(1);
      expect(site.turn()[1]).toBeGreaterThanOrEqual(64);
    }
  });
});

describe('a flooding VM and one that sends much', () => {
  /** What VM 1, which floods, and VM 2, which has `count` for each turn, bring in 128 turns. */
  function beside(count?: number): [number, number] {
    site.prepare(1, SMALL);
    site.prepare(2, SMALL);
    const sums: [number, number] = [0, 0];
    for (let i = 0; i < 128; i++) {
      site.send(1);
      site.send(2, count);
      const [, one, other] = site.turn();
      sums[0] += one;
      sums[1] += other;
    }
    return sums;
  }

  for (const [name, load] of Object.entries({
    'of 64 bytes': SMALL,
    'of one byte per descriptor': ONE_BYTE_EACH,
  })) {
    test(`datagrams ${name}: what the other sends per turn is taken in that turn, and the flood has half`, () => {
      site.prepare(1, load);
      site.prepare(2, SMALL);
      let [flood, much] = [0, 0];
      for (let i = 0; i < 128; i++) {
        site.send(1);
        site.send(2, 120);
        const [, one, other] = site.turn();
        expect(other).toBe(120);
        flood += one * load.descriptors;
        much += other;
      }
      expect(flood).toBeLessThan(2 * 0.75 * much); // twice as many descriptors as datagrams, and a chain begun is taken
      expect(flood).toBeGreaterThan(0.4 * much);
    });
  }

  test('both flood: each has the same', () => {
    const [first, second] = beside();
    expect(first / second).toBeGreaterThan(0.95);
    expect(first / second).toBeLessThan(1.05);
    expect(first).toBeGreaterThanOrEqual(128 * 64);
  });

  test('one that asks for a little less than it may gains no more than twice as much', () => {
    const [flood, sly] = beside(127);
    expect(sly).toBeLessThanOrEqual(2 * flood);
  });

  test('four pairs of rings bring no more than one', () => {
    site.end();
    site.begin(4);
    site.prepare(1, SMALL);
    site.prepare(2, SMALL);
    let [four, one] = [0, 0];
    for (let i = 0; i < 128; i++) {
      for (const ring of [1, 3, 5, 7]) site.send(1, SIZE, ring);
      site.send(2, SIZE, 1);
      const [, all, single] = site.turn();
      expect(all).toBeLessThanOrEqual(BURST);
      four += all;
      one += single; // it has four pairs as well, and uses one
    }
    expect(four / one).toBeGreaterThan(0.95 * 4);
    expect(four / one).toBeLessThan(1.05 * 4);
  });
});

describe('what a VM brings through all its pairs counts', () => {
  beforeEach(() => {
    site.end();
    site.begin(4);
    // Whatever it was before, it is light and not greedy now.
    site.prepare(1, SMALL);
    for (let turn = 0; turn < 2; turn++) {
      site.send(1, 1);
      site.turn(1);
    }
    expect(site.base.portControls[1].port.heavy).toBe(false);
  });

  test('who fills one pair and sends little through the last has filled its budget, too', () => {
    const taken = Array.from({ length: 8 }, () => {
      site.send(1, SIZE, 1);
      site.send(1, 1, 7);
      return site.turn()[1];
    });
    expect(taken[0]).toBe(BURST / 4 + 1);
    expect(taken[7]).toBe(BURST / 8 + 1);
  });

  test('many descriptors', () => {
    site.prepare(1, ONE_BYTE_EACH);
    for (const ring of [1, 3]) site.send(1, 1, ring);
    expect(site.turn()[1]).toBe(2);
    expect(site.base.portControls[1].port.heavy).toBe(true);
  });
});

test('who is given half is asked again', () => {
  site.prepare(1, SMALL);
  site.send(1, 1);
  site.turn();
  const taken = Array.from({ length: 100 }, () => {
    site.send(1);
    return site.turn()[1];
  });
  const half = taken[0] / 2;
  expect(taken.slice(4, 60)).toEqual(Array(56).fill(half));
  expect(taken.slice(60)).toContain(taken[0]);
});

test('each VM comes first in turn', () => {
  const { storage } = (site.base.turn as unknown as { context: TurnContext }).context;
  const first = new Set<number>();
  for (const vm of [1, 2, 3]) site.prepare(vm, SMALL);
  for (let turn = 0; turn < VMS; turn++) {
    for (const vm of [1, 2, 3]) site.send(vm, 1);
    site.turn();
    first.add(storage.from[0]);
  }
  expect([...first].sort()).toEqual([1, 2, 3]);
});

test('twenty VMs fill base storage with the largest datagrams: nobody is always last', () => {
  const FLOODERS = Array.from({ length: 20 }, (_, index) => index + 1);
  for (const vm of FLOODERS) site.prepare(vm, LARGEST);
  site.prepare(21, { bytes: 1514, descriptors: 1 });
  const sums = Array<number>(VMS).fill(0);
  const TURNS = 84; // each VM begins four times
  for (let i = 0; i < TURNS; i++) {
    for (const vm of FLOODERS) site.send(vm);
    site.send(21, 64);
    site.turn().forEach((count, vm) => {
      sums[vm] += count;
    });
  }
  // Storage holds what some sixteen of them bring: each is left out now and then.
  expect(sums[21]).toBeGreaterThan(0.6 * 64 * TURNS);
  const floods = sums.slice(1, 21);
  expect(Math.max(...floods)).toBeLessThan(1.5 * Math.min(...floods));
});

describe('a VM whose datagrams become many segments', () => {
  beforeEach(() => {
    site.end();
    site.begin(1, SEGMENTING);
  });

  test('brings as much as it becomes: turns are short beside one that sends now and then', () => {
    site.prepareSegments(1, 7680);
    site.prepare(2, SMALL);
    let sum = 0;
    for (let turn = 0; turn < 200; turn++) {
      site.send(1, 16); // few, and together below what makes a VM a heavy one
      site.send(2, 1);
      const [, segments, light] = site.turn(0.2);
      expect(light).toBe(1);
      sum += segments;
    }
    // 16 times 161 if only its chains counted.
    expect(sum / 200).toBeLessThan(1000);
    expect(sum).toBeGreaterThan(0);
  });

  test('leaves the others room for theirs', () => {
    site.prepareSegments(1, 7680);
    site.prepareSegments(2, 7680);
    for (let turn = 0; turn < 200; turn++) {
      site.send(1);
      site.send(2, 1);
      site.turn(0.2);
    }
    expect(site.counters.get(1, 'storageFull'), 'of the flood').toBeGreaterThan(0);
    expect(site.counters.get(2, 'storageFull'), 'of the other').toBe(0);
  });
});
