/** Which pages a dirty log marks, and that its own end is one. */
import { afterEach, expect, test } from 'vitest';
import { native } from '../../src/native.ts';
import { DirtyLog } from '../../src/virtio/dirty-log.ts';

let log: DirtyLog;
afterEach(() => log.close());

/** The pages that a log of `bytes` bytes has marked after writes to these places. */
function marked(bytes: number, writes: [address: number, length: number][]): number[] {
  const fd = native.memfd('log', bytes, true);
  const handle = native.mapRegion(fd, 0, bytes);
  native.closeDescriptor(fd);
  log = new DirtyLog(native, handle, bytes);
  for (const [address, length] of writes) log.mark(address, length);
  const bits = new Uint8Array(native.viewRegion(handle, 0, bytes));
  return Array.from({ length: bytes * 8 }, (_, page) => page).filter(
    (page) => (bits[page >> 3] >> (page & 7)) & 1,
  );
}

test.each<[string, [number, number][], number[]]>([
  ['a byte', [[5 * 4096, 1]], [5]],
  ['a whole page', [[4096, 4096]], [1]],
  ['the last byte of one and the first of the next', [[8191, 2]], [1, 2]],
  ['pages in two bytes of the log', [[7 * 4096 + 1, 2 * 4096]], [7, 8, 9]],
  ['nothing', [[4097, 0]], []],
  [
    'what was there already stays',
    [
      [0, 1],
      [3 * 4096, 1],
    ],
    [0, 3],
  ],
])('%s', (_, writes, pages) => {
  expect(marked(16, writes)).toEqual(pages);
});

test('what is behind its end is ignored', () => {
  expect(marked(1, [[6 * 4096, 4 * 4096]])).toEqual([6, 7]);
  log.mark(2 ** 40, 1);
});
