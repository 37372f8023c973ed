/**
 * Regions: what may be mapped, what is refused, who may use a handle, and that nothing stays behind.
 */
import { openSync, readdirSync, readFileSync, rmSync, writeSync } from 'node:fs';
import { afterEach, describe, expect, test } from 'vitest';
import { native } from '../../src/native.ts';
import { untilSealed } from '../support/sealed.ts';

const PAGE = 4096;
const MiB = 1 << 20;

const opened: number[] = [];
const mapped: number[] = [];
const files: string[] = [];

/** A memfd that is closed after the test. */
function memfd(bytes: number, sealable = true, name = 'basewire-test'): number {
  const fd = native.memfd(name, bytes, sealable);
  opened.push(fd);
  return fd;
}

/** A region that is unmapped after the test. */
function map(fd: number, offset: number, length: number): number {
  const region = native.mapRegion(fd, offset, length);
  mapped.push(region);
  return region;
}

function release(region: number): void {
  mapped.splice(mapped.indexOf(region), 1);
  native.unmapRegion(region);
}

/** `code` of the error that `action` throws. */
function codeOf(action: () => unknown): string {
  try {
    action();
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? (error as Error).name;
  }
  return 'nothing thrown';
}

/** Lines of /proc/self/maps. */
function maps(): string[] {
  return readFileSync('/proc/self/maps', 'utf8').trim().split('\n');
}

afterEach(() => {
  for (const region of mapped.splice(0)) native.unmapRegion(region);
  for (const fd of opened.splice(0)) native.closeDescriptor(fd);
  for (const file of files.splice(0)) rmSync(file, { force: true });
});

describe('mapping', () => {
  test('two mappings of one memfd show the same bytes, from offsets that are not page-aligned', () => {
    const fd = memfd(MiB);
    const whole = new Uint8Array(native.viewRegion(map(fd, 0, MiB), 0, MiB));
    const part = new Uint8Array(native.viewRegion(map(fd, 5001, 70_000), 0, 70_000));
    whole[5001] = 0xa5;
    part[69_999] = 0x5a;
    expect(part[0]).toBe(0xa5);
    expect(whole[5001 + 69_999]).toBe(0x5a);
  });

  test('a view covers exactly what was asked for', () => {
    const fd = memfd(MiB);
    const region = map(fd, 0, MiB);
    const whole = new Uint8Array(native.viewRegion(region, 0, MiB));
    whole[4242] = 7;
    const view = new Uint8Array(native.viewRegion(region, 4242, 3));
    expect([...view]).toEqual([7, 0, 0]);
  });

  test('lives on when the descriptor is closed', () => {
    const fd = native.memfd('basewire-test', PAGE, true);
    const region = map(fd, 0, PAGE);
    native.closeDescriptor(fd);
    const bytes = new Uint8Array(native.viewRegion(region, 0, PAGE));
    bytes[17] = 99;
    expect(bytes[17]).toBe(99);
  });

  test('stands between inaccessible pages and is kept out of core dumps', () => {
    const name = `guarded-${process.pid}`;
    const fd = memfd(3 * MiB, true, name);
    map(fd, 0, 3 * MiB);
    const lines = maps();
    const at = lines.findIndex((line) => line.includes(name));
    const range = (line: string) => line.split(' ')[0].split('-');
    expect(lines[at].split(' ')[1]).toBe('rw-s');
    expect(range(lines[at - 1])[1]).toBe(range(lines[at])[0]);
    expect(lines[at - 1].split(' ')[1]).toBe('---p');
    expect(range(lines[at + 1])[0]).toBe(range(lines[at])[1]);
    expect(lines[at + 1].split(' ')[1]).toBe('---p');
    const smaps = readFileSync('/proc/self/smaps', 'utf8');
    const entry = smaps.slice(smaps.indexOf(name));
    expect(entry.slice(entry.indexOf('VmFlags:')).split('\n')[0].split(' ')).toContain('dd');
  });

  test('adds F_SEAL_SHRINK where sealing is allowed: the file cannot shrink any more, but grow', async () => {
    const fd = memfd(2 * PAGE);
    native.unmapRegion(native.mapRegion(fd, 0, PAGE, 0));
    await untilSealed(fd, PAGE);
    expect(native.truncate(fd, 3 * PAGE)).toBe(0);
  });

  test('a file that cannot be sealed is mapped all the same', () => {
    const fd = memfd(PAGE, false);
    expect(map(fd, 0, PAGE)).toBeGreaterThanOrEqual(0);
  });

  test('a file in /dev/shm is memory', () => {
    const path = `/dev/shm/basewire-test-${process.pid}`;
    files.push(path);
    const fd = openSync(path, 'w+');
    opened.push(fd);
    writeSync(fd, Buffer.from('hello'));
    const bytes = Buffer.from(native.viewRegion(map(fd, 0, 5), 0, 5));
    expect(bytes.toString()).toBe('hello');
  });
});

describe('refusals', () => {
  test('NOT_MEMORY: disk files, directories, eventfds, sockets, /dev/zero', () => {
    const disk = openSync(process.execPath, 'r');
    const directory = openSync('/', 'r');
    const zero = openSync('/dev/zero', 'r+');
    const [left, right] = native.unixPair();
    const bell = native.eventfd();
    opened.push(disk, directory, zero, left, right, bell);
    for (const fd of [disk, directory, zero, left, bell]) {
      expect(codeOf(() => native.mapRegion(fd, 0, PAGE))).toBe('NOT_MEMORY');
    }
  });

  test('PAST_END: one byte too much, an offset at or beyond the end', () => {
    const fd = memfd(PAGE);
    for (const [offset, length] of [
      [0, PAGE + 1],
      [1, PAGE],
      [PAGE, 1],
      [2 ** 52, 2 ** 52],
      [2 ** 53 - 1, 2 ** 53 - 1],
    ]) {
      expect(codeOf(() => native.mapRegion(fd, offset, length))).toBe('PAST_END');
    }
  });

  test('READ_ONLY: descriptors without write access, files sealed against writing', () => {
    const path = `/dev/shm/basewire-test-ro-${process.pid}`;
    files.push(path);
    const write = openSync(path, 'w+');
    writeSync(write, Buffer.alloc(PAGE));
    const read = openSync(path, 'r');
    opened.push(write, read);
    expect(codeOf(() => native.mapRegion(read, 0, PAGE))).toBe('READ_ONLY');
    const only = openSync(path, 'a');
    opened.push(only);
    expect(codeOf(() => native.mapRegion(only, 0, PAGE))).toBe('READ_ONLY');
  });

  test('BAD_RANGE: nothing, less than nothing, fractions, NaN, infinities, 2^53', () => {
    const fd = memfd(PAGE);
    for (const [offset, length] of [
      [0, 0],
      [-1, 1],
      [0, -1],
      [0.5, 1],
      [0, 1.5],
      [Number.NaN, 1],
      [0, Number.NaN],
      [Number.POSITIVE_INFINITY, 1],
      [0, Number.NEGATIVE_INFINITY],
      [0, 2 ** 53],
      [2 ** 64, 1],
    ]) {
      expect(codeOf(() => native.mapRegion(fd, offset, length))).toBe('BAD_RANGE');
    }
  });

  test('a descriptor that is not open throws EBADF', () => {
    expect(codeOf(() => native.mapRegion(999_999, 0, PAGE))).toBe('EBADF');
  });

  test('views outside the region, empty, above 1 GiB, or of handles that are not mapped', () => {
    const region = map(memfd(PAGE), 0, PAGE);
    for (const [offset, length] of [
      [0, PAGE + 1],
      [1, PAGE],
      [PAGE, 1],
      [0, 0],
      [-1, 2],
      [0.5, 1],
      [0, Number.NaN],
      [0, 2 ** 30 + 1],
      [2 ** 53, 1],
    ]) {
      expect(() => native.viewRegion(region, offset, length)).toThrow(RangeError);
    }
    for (const handle of [-1, 65_535, 65_536, 2 ** 31, 0.5, Number.NaN]) {
      expect(() => native.viewRegion(handle, 0, 1)).toThrow(RangeError);
      expect(() => native.unmapRegion(handle)).toThrow(RangeError);
    }
  });

  test('mapPacketRings takes packet sockets only', () => {
    const [left, right] = native.unixPair();
    opened.push(left, right);
    expect(codeOf(() => native.mapPacketRings(left, PAGE))).toBe('NOT_MEMORY');
    expect(codeOf(() => native.mapPacketRings(memfd(PAGE), PAGE))).toBe('ENOTSOCK');
    expect(codeOf(() => native.mapPacketRings(left, 100))).toBe('BAD_RANGE');
  });
});

describe('unmapping', () => {
  test('detaches every view, and views of views', () => {
    const region = map(memfd(MiB), 0, MiB);
    const buffers = [0, 1, 2].map((i) => native.viewRegion(region, i * PAGE, PAGE));
    const bytes = buffers.map((buffer) => new Uint8Array(buffer, 16, 32));
    release(region);
    expect(buffers.map((buffer) => buffer.byteLength)).toEqual([0, 0, 0]);
    expect(bytes.map((view) => view.length)).toEqual([0, 0, 0]);
    expect(bytes[0][0]).toBeUndefined();
    bytes[0][0] = 1; // goes nowhere
    expect(() => Atomics.load(bytes[0], 0)).toThrow();
  });

  test('a handle is used again, and the old number means the new region', () => {
    const first = native.mapRegion(memfd(PAGE), 0, PAGE);
    native.unmapRegion(first);
    const second = map(memfd(PAGE), 0, PAGE);
    expect(second).toBe(first);
    expect(() => native.unmapRegion(first + 1)).toThrow(RangeError);
  });

  test('a thousand cycles leave no mapping and no descriptor behind', () => {
    const name = `cycles-${process.pid}`;
    const before = { maps: maps().length, fds: readdirSync('/proc/self/fd').length };
    for (let i = 0; i < 1000; i++) {
      const fd = native.memfd(name, 64 * 1024, i % 2 === 0);
      const region = native.mapRegion(fd, i, 32_768);
      const view = new Uint8Array(native.viewRegion(region, 0, 32_768));
      const other = native.viewRegion(region, 1, 5);
      native.closeDescriptor(fd);
      view[i] = 1;
      native.unmapRegion(region);
      expect(view.length + other.byteLength).toBe(0);
    }
    expect(maps().filter((line) => line.includes(name))).toEqual([]);
    expect(maps().length - before.maps).toBeLessThan(100);
    expect(readdirSync('/proc/self/fd').length).toBe(before.fds);
  });

  test('viewing one region very often does not pile up', () => {
    const region = map(memfd(PAGE), 0, PAGE);
    const kept = native.viewRegion(region, 0, 8);
    for (let i = 0; i < 5000; i++) native.viewRegion(region, i % 100, 8);
    release(region);
    expect(kept.byteLength).toBe(0);
  });
});
