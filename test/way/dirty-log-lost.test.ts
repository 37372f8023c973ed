/**
 * The tests of the dirty log can fail: in a base that does not log what it writes, or not all of it, the comparison of memory with the
 * log finds exactly that.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { DirtyLogArea } from '../support/dirty-log.ts';
import { BOTH_FORMATS, FORMATS } from '../support/formats.ts';
import { seeded } from '../support/random.ts';
import { A, B, udpFrame } from '../support/traffic.ts';
import type { Vm } from '../support/vm.ts';
import { World } from '../support/world.ts';
import { beginLogging, changed, givenBack, snapshot } from '../support/written-pages.ts';

const FAULT = fileURLToPath(new URL('../support/lose-dirty-log.cjs', import.meta.url));
const PAGE = 4096;

let folder: string;
let file: string;
let world: World;
let log: DirtyLogArea | undefined;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'basewire-log-'));
  file = join(folder, 'lose');
  world = await World.start(BOTH_FORMATS, {
    nodeArguments: ['--require', FAULT],
    environment: { BASEWIRE_TEST_LOSE: file },
  });
});
afterEach(async () => {
  await world.release();
  log?.close();
  log = undefined;
  rmSync(file, { force: true });
});
afterAll(async () => {
  await world?.close();
  rmSync(folder, { recursive: true, force: true });
});

describe.each(FORMATS)('a dirty log with gaps: $format', ({ packed }) => {
  /** Pages that were written, and those of them that are not marked. */
  async function written(lose: (vm: Vm) => [first: number, last: number]) {
    const random = seeded();
    const a = await world.vm('a', { packed });
    const b = await world.vm('b', { packed });
    log = new DirtyLogArea(16 << 20);
    await beginLogging(a, log);
    log.clear();
    const [first, last] = lose(a);
    writeFileSync(file, `${first} ${last}`);
    const used = givenBack(a);
    const before = snapshot(a);
    for (let i = 0; i < 20; i++) {
      await b.send(udpFrame(B, A.ip, random.bytes(1000)));
      await a.receive();
      await a.send(udpFrame(A, B.ip, random.bytes(1000)));
      await b.receive();
    }
    await a.untilSent();
    await a.frontEnd.getFeatures(); // between two turns
    const pages = [...new Set([...changed(a, before), ...used()])];
    const unmarked = pages.filter((address) => !log?.marked(address));
    const lost = pages.filter((address) => address >= first * PAGE && address <= last * PAGE);
    return { pages: pages.length, unmarked, lost };
  }

  test('nothing is lost: nothing is found', async () => {
    const { pages, unmarked } = await written(() => [-1, -1]);
    expect(pages).toBeGreaterThan(2);
    expect(unmarked).toEqual([]);
  });

  test('the pages of input buffers are lost: they are found', async () => {
    const { pages, unmarked, lost } = await written((vm) => {
      const { slotsAt, size, slotBytes } = vm.receiveQueue();
      return [Math.ceil(slotsAt / PAGE), Math.floor((slotsAt + size * slotBytes) / PAGE) - 1];
    });
    expect(unmarked.length).toBeGreaterThan(0);
    expect(unmarked.length).toBeLessThan(pages);
    expect(unmarked).toEqual(lost);
  });

  test('all is lost: all is found', async () => {
    const { pages, unmarked } = await written(() => [0, Number.MAX_SAFE_INTEGER]);
    expect(pages).toBeGreaterThan(2);
    expect(unmarked).toHaveLength(pages);
  });
});
