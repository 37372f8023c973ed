/**
 * Regions and threads: a handle counts only where it was made, and the end of a thread leaves nothing behind.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { afterEach, describe, expect, test } from 'vitest';
import { native } from '../../src/native.ts';
import { runWorker } from './threads.ts';

const PAGE = 4096;

const opened: number[] = [];
const mapped: number[] = [];

function memfd(bytes: number): number {
  const fd = native.memfd('basewire-test', bytes, true);
  opened.push(fd);
  return fd;
}

function map(fd: number, offset: number, length: number): number {
  const region = native.mapRegion(fd, offset, length);
  mapped.push(region);
  return region;
}

/** Lines of /proc/self/maps. */
function maps(): string[] {
  return readFileSync('/proc/self/maps', 'utf8').trim().split('\n');
}

afterEach(() => {
  for (const region of mapped.splice(0)) native.unmapRegion(region);
  for (const fd of opened.splice(0)) native.closeDescriptor(fd);
});

describe('threads', () => {
  test("a worker cannot use this thread's handles, nor see its arena", async () => {
    const region = map(memfd(PAGE), 0, PAGE);
    const answer = await runWorker(
      `const tried = {};
       try { native.viewRegion(workerData, 0, 1); tried.view = 'done'; } catch (error) { tried.view = error.name; }
       try { native.unmapRegion(workerData); tried.unmap = 'done'; } catch (error) { tried.unmap = error.name; }
       const { rows } = native.createArena(4096, 4);
       new Float64Array(rows)[0] = 0;
       new Int32Array(rows).set([workerData, 0, 1], 2);
       tried.refused = native.gatherCopies(1);
       parentPort.postMessage(tried);`,
      region,
    );
    expect(answer).toEqual({ view: 'RangeError', unmap: 'RangeError', refused: 1 });
    expect(native.viewRegion(region, 0, 1).byteLength).toBe(1);
  });

  test('the end of a worker unmaps what it mapped, whether it ends or is terminated', async () => {
    const name = `orphan-${process.pid}`;
    const fds = readdirSync('/proc/self/fd').length;
    for (const end of ['', 'setInterval(() => {}, 1000);']) {
      const answer = await runWorker(
        `const fd = native.memfd('${name}', 1 << 20, true);
         const region = native.mapRegion(fd, 0, 1 << 20);
         native.closeDescriptor(fd);
         globalThis.kept = [native.viewRegion(region, 0, 100), new Uint8Array(native.viewRegion(region, 50, 100))];
         globalThis.arena = native.createArena(1 << 20, 64);
         globalThis.waiter = native.createWaiter(4);
         parentPort.postMessage(require('node:fs').readFileSync('/proc/self/maps', 'utf8').includes('${name}'));
         ${end}`,
        null,
      );
      expect(answer).toBe(true);
      expect(maps().filter((line) => line.includes(name))).toEqual([]);
    }
    expect(readdirSync('/proc/self/fd').length).toBe(fds);
  });

  test('handles of a worker that ended are free again', async () => {
    const first = native.mapRegion(memfd(PAGE), 0, PAGE);
    native.unmapRegion(first);
    const inWorker = await runWorker(
      `const fd = native.memfd('x', 4096, true);
       const region = native.mapRegion(fd, 0, 4096);
       native.closeDescriptor(fd);
       parentPort.postMessage(region);`,
      null,
    );
    expect(inWorker).toBe(first);
    expect(map(memfd(PAGE), 0, PAGE)).toBe(first);
  });
});
