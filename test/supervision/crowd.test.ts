import { cpus } from 'node:os';
import { describe, expect, test } from 'vitest';
import { BEAT } from '../../src/beat.ts';
import { Crowd } from '../../src/supervision/crowd.ts';
import { coreList, coreTicks, IdleCores } from '../../src/supervision/idle-cores.ts';
import { until } from '../support/until.ts';

const LOOK = 250;

class Looks {
  idle: number | null = null;
  reads = 0;
  private readonly beat = new Int32Array(BEAT.cells);
  private now = 0;
  private readonly crowd = new Crowd({
    read: () => {
      this.reads++;
      return this.idle;
    },
    forget: () => {},
  });

  /** One look after which the worker has waited so often; whether the host is crowded. */
  look(waits: number): boolean {
    this.beat[BEAT.waits] += waits;
    this.now += LOOK;
    this.crowd.look(this.beat, this.now);
    return this.beat[BEAT.crowded] === 1;
  }
}

describe('a crowded host', () => {
  test('is not looked for while the worker seldom waits', () => {
    const looks = new Looks();
    looks.idle = 0;
    for (let i = 0; i < 8; i++) expect(looks.look(200)).toBe(false);
    expect(looks.reads).toBe(0);
  });

  test('leaves less than 0.9 of a core to the base', () => {
    const looks = new Looks();
    expect(looks.look(1000)).toBe(false); // nothing known yet
    for (const [idle, crowded] of [
      [1, false],
      [0.8, true],
      [null, true],
      [1, false],
      [0, true],
    ] as const) {
      looks.idle = idle;
      expect(looks.look(1000), `${idle} idle`).toBe(crowded);
    }
    expect(looks.look(0)).toBe(false);
  });

  test('is looked for while the worker rests, however long that takes it', () => {
    const looks = new Looks();
    looks.idle = 0;
    expect(looks.look(1000)).toBe(true);
    for (let i = 0; i < 8; i++) expect(looks.look(25)).toBe(true);
    expect(looks.look(10)).toBe(false);
  });

  test('is found as well when the count of waits has gone round', () => {
    const looks = new Looks();
    looks.idle = 0;
    looks.look(2 ** 31 - 500);
    expect(looks.look(1000)).toBe(true);
  });
});

describe('idle cores', () => {
  test('are those of the list that the kernel allows', () => {
    expect([...coreList('0-2,5,7-8\n')]).toEqual([0, 1, 2, 5, 7, 8]);
    const stat =
      'cpu  9 9 9 9 9 9 9 9 9 9\ncpu0 1 2 3 40 5 6 7 8 1 0\ncpu1 0 0 0 9 0 0 0 0 0 0\nintr 5 6\n';
    expect(coreTicks(stat, new Set([0]))).toEqual({ online: 1, idle: 45, all: 72 });
    expect(coreTicks(stat, new Set([0, 1]))).toEqual({ online: 2, idle: 54, all: 81 });
    // Cores that the kernel allows, but does not have.
    expect(coreTicks(stat, coreList('1-127')).online).toBe(1);
    expect(coreTicks(stat, new Set([3]))).toEqual({ online: 0, idle: 0, all: 0 });
  });

  test('are told by this kernel, from the second call on', async () => {
    const cores = new IdleCores();
    expect(cores.read()).toBeNull();
    const idle = await until('ticks of the kernel', () => cores.read());
    expect(idle).toBeGreaterThanOrEqual(0);
    expect(idle).toBeLessThanOrEqual(2 * cpus().length); // ticks are coarse
    cores.forget();
    expect(cores.read()).toBeNull();
  });
});
