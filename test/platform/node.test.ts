/**
 * What basewire takes for granted of Node.js and V8. A failure here says which assumption a new version broke.
 */
import { endianness } from 'node:os';
import { Worker } from 'node:worker_threads';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { native } from '../../src/native.ts';

const BYTES = 65_536;

let fd: number;
let region: number;

beforeAll(() => {
  fd = native.memfd('platform', BYTES, true);
  region = native.mapRegion(fd, 0, BYTES);
});
afterAll(() => {
  native.unmapRegion(region);
  native.closeDescriptor(fd);
});

test('the machine is little-endian, so typed arrays read rings as they are', () => {
  expect(endianness()).toBe('LE');
  expect(new Uint8Array(Uint16Array.of(0x0102).buffer)[0]).toBe(2);
});

describe('an external ArrayBuffer', () => {
  test('takes Atomics of 8, 16 and 32 bits, although it is not shared', () => {
    const buffer = native.viewRegion(region, 0, 64);
    const halves = new Uint16Array(buffer);
    const words = new Int32Array(buffer);
    Atomics.store(halves, 3, 0xfffe);
    expect(Atomics.load(halves, 3)).toBe(0xfffe);
    expect(Atomics.add(words, 4, 5)).toBe(0);
    expect(Atomics.compareExchange(words, 4, 5, 9)).toBe(5);
    expect(Atomics.or(new Uint8Array(buffer), 40, 0x81)).toBe(0);
    expect(buffer).toBeInstanceOf(ArrayBuffer);
  });

  test('two of them over one address show the same memory', () => {
    const one = new Uint8Array(native.viewRegion(region, 100, 16));
    const other = new Uint8Array(native.viewRegion(region, 100, 16));
    one[3] = 42;
    expect(other[3]).toBe(42);
  });

  test('is posted as a copy; transferring it copies (Node 20) or throws, and never moves the memory away', () => {
    const buffer = native.viewRegion(region, 200, 4);
    new Uint8Array(buffer)[0] = 1;
    const copy = structuredClone(buffer);
    new Uint8Array(buffer)[0] = 2;
    expect(new Uint8Array(copy)[0]).toBe(1);
    try {
      new Uint8Array(structuredClone(buffer, { transfer: [buffer] }))[0] = 3;
    } catch (error) {
      expect((error as Error).name).toBe('DataCloneError');
    }
    expect(buffer.byteLength).toBe(4);
    expect(new Uint8Array(buffer)[0]).toBe(2);
  });

  test('detached: length 0, reads give undefined, writes go nowhere, Atomics throw', () => {
    const own = native.memfd('platform', 4096, true);
    const handle = native.mapRegion(own, 0, 4096);
    native.closeDescriptor(own);
    const buffer = native.viewRegion(handle, 0, 4096);
    const bytes = new Uint8Array(buffer);
    const words = new Int32Array(buffer);
    const view = new DataView(buffer);
    native.unmapRegion(handle);
    expect([buffer.byteLength, bytes.length, words.length]).toEqual([0, 0, 0]);
    expect(bytes[0]).toBeUndefined();
    bytes[0] = 1;
    expect(() => Atomics.load(words, 0)).toThrow(TypeError);
    expect(() => view.getUint8(0)).toThrow(TypeError);
    expect(() => bytes.set([1])).toThrow();
  });

  test('is seen to change under a loop that polls it with Atomics.load', () => {
    const words = new Int32Array(native.viewRegion(region, 4096, 4));
    const other = native.mapRegion(fd, 0, BYTES);
    const same = new Int32Array(native.viewRegion(other, 4096, 4));
    for (let i = 1; i < 50_000; i++) {
      same[0] = i;
      if (Atomics.load(words, 0) !== i) throw new Error(`missed the store of ${i}`);
    }
    native.unmapRegion(other);
  });

  test('is seen to change under a loop that polls it with plain loads, as rings are polled, when another thread writes', async () => {
    const shared = native.memfd('platform', 4096, true);
    const handle = native.mapRegion(shared, 0, 4096);
    const queue = { avail: new Uint16Array(native.viewRegion(handle, 0, 64)) };
    // As `SplitQueue.mayHaveWork`: nothing in the loop but the load.
    const changed = (from: number) => queue.avail[1] !== from;
    const writer = new Worker(
      `const { workerData } = require('node:worker_threads');
       const { writeSync } = require('node:fs');
       for (let index = 1; index <= 200; index++) {
         writeSync(workerData, Uint16Array.of(index), 0, 2, 2);
         Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 2);
       }`,
      { eval: true, workerData: shared },
    );
    let seen = 0;
    let polls = 0;
    let missed = 0;
    const deadline = performance.now() + 20_000;
    while (seen < 200 && performance.now() < deadline) {
      let poll = 0;
      while (poll < 3_000_000 && !changed(seen)) poll++;
      polls += poll;
      // The loop ran to its end although there was something: once or twice by chance, always where the load was taken out of it.
      if (poll === 3_000_000 && queue.avail[1] !== seen) missed++;
      seen = queue.avail[1];
    }
    await new Promise((resolve) => writer.once('exit', resolve));
    expect(seen).toBe(200);
    expect(polls, 'polls, so that the loop is optimised').toBeGreaterThan(100_000);
    expect(missed).toBeLessThan(20);
    native.unmapRegion(handle);
    native.closeDescriptor(shared);
  });
});

test('doubles hold every address below 2^53 exactly, made from two 32-bit words', () => {
  const high = 0x1fffff;
  const low = 0xffffffff;
  expect(high * 2 ** 32 + low).toBe(Number.MAX_SAFE_INTEGER);
  expect(2 ** 53 + 1).toBe(2 ** 53);
});
