/**
 * Copy lists: every row does exactly what it says or is refused whole, against a model that is written plainly.
 */
import fc from 'fast-check';
import { beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { COPY_ROW, native } from '../../src/native.ts';
import { sumBytes } from '../../src/wire/checksum.ts';

const ARENA = 256 * 1024;
const ROWS = 64;
/** Not a whole number of pages, so that the region's end is not the mapping's. */
const REGION_BYTES = [70_001, 4096, 33];

let arena: Uint8Array;
let offsets: Float64Array;
let cells: Int32Array;
const handles: number[] = [];
const regions: Uint8Array[] = [];

beforeAll(() => {
  const made = native.createArena(ARENA, ROWS);
  arena = new Uint8Array(made.arena);
  offsets = new Float64Array(made.rows);
  cells = new Int32Array(made.rows);
  for (const bytes of REGION_BYTES) {
    const fd = native.memfd('copies', bytes, true);
    const handle = native.mapRegion(fd, 0, bytes);
    native.closeDescriptor(fd);
    handles.push(handle);
    regions.push(new Uint8Array(native.viewRegion(handle, 0, bytes)));
  }
});

beforeEach(() => {
  for (let i = 0; i < ARENA; i++) arena[i] = (i * 7 + 1) & 0xff;
  for (const region of regions) for (let i = 0; i < region.length; i++) region[i] = (i * 13) & 0xff;
});

interface Row {
  offset: number;
  region: number;
  arena: number;
  length: number;
}

function put(rows: readonly Row[]): void {
  rows.forEach((row, i) => {
    offsets[(i * COPY_ROW.bytes) / 8 + COPY_ROW.offset] = row.offset;
    cells[i * 6 + COPY_ROW.region] = row.region;
    cells[i * 6 + COPY_ROW.arena] = row.arena;
    cells[i * 6 + COPY_ROW.length] = row.length;
  });
}

function lengthAfter(row: number): number {
  return cells[row * 6 + COPY_ROW.length];
}

/** What the contract says of one row. */
function acceptable(row: Row): boolean {
  const region = handles.indexOf(row.region);
  return (
    region >= 0 &&
    Number.isInteger(row.offset) &&
    row.offset >= 0 &&
    row.length >= 0 &&
    row.offset + row.length <= REGION_BYTES[region] &&
    row.arena >= 0 &&
    row.arena + row.length <= ARENA
  );
}

/** Carries out the rows on copies of everything, byte by byte. */
function model(rows: readonly Row[], toArena: boolean) {
  const own = Uint8Array.from(arena);
  const guests = regions.map((region) => Uint8Array.from(region));
  let refused = 0;
  for (const row of rows) {
    if (!acceptable(row)) {
      refused++;
      const fits = row.length >= 0 && row.arena >= 0 && row.arena + row.length <= ARENA;
      if (toArena && fits) own.fill(0, row.arena, row.arena + row.length);
      continue;
    }
    const guest = guests[handles.indexOf(row.region)];
    for (let i = 0; i < row.length; i++) {
      if (toArena) own[row.arena + i] = guest[row.offset + i];
      else guest[row.offset + i] = own[row.arena + i];
    }
  }
  return { own, guests, refused };
}

function check(rows: readonly Row[], toArena: boolean): void {
  const expected = model(rows, toArena);
  put(rows);
  const refused = toArena ? native.gatherCopies(rows.length) : native.deliverCopies(rows.length);
  expect(refused).toBe(expected.refused);
  rows.forEach((row, i) => {
    expect(lengthAfter(i)).toBe(acceptable(row) ? row.length : -1);
  });
  expect(Buffer.compare(arena, expected.own), 'the arena').toBe(0);
  regions.forEach((region, i) => {
    expect(Buffer.compare(region, expected.guests[i]), `region ${i}`).toBe(0);
  });
}

test.each([true, false])('every length from 0 to 600, and long ones (gather: %s)', (toArena) => {
  const lengths = [...Array(601).keys(), 1514, 4096, 9014, 65_549, 70_001];
  for (let first = 0; first < lengths.length; first += ROWS) {
    const rows = lengths.slice(first, first + ROWS).map((length, i) => ({
      offset: length > 1000 ? 0 : i,
      region: handles[0],
      arena: 14 + i * 1024,
      length,
    }));
    check(rows, toArena);
  }
});

const wild = fc.oneof(
  fc.constantFrom(-1, -0.5, 0.5, Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY),
  fc.constantFrom(2 ** 31, 2 ** 32, 2 ** 53 - 1, 2 ** 53, 2 ** 63, 2 ** 64, -(2 ** 63), 1e308),
  fc.integer({ min: -10, max: 80_000 }),
);
const wildInt = fc.oneof(
  fc.integer(),
  fc.constantFrom(-1, -(2 ** 31), 2 ** 31 - 1, ARENA, ARENA - 1, 65_535, 65_536),
);
const row = fc.record({
  offset: fc.oneof({ weight: 4, arbitrary: fc.nat(70_100) }, wild),
  region: fc.oneof(
    { weight: 4, arbitrary: fc.nat(2).map((index) => handles[index]) },
    { weight: 1, arbitrary: wildInt },
  ),
  arena: fc.oneof({ weight: 4, arbitrary: fc.nat(ARENA) }, wildInt),
  length: fc.oneof({ weight: 6, arbitrary: fc.nat(300) }, fc.nat(70_100), wildInt),
});

test.each([true, false])('random rows, good and bad (gather: %s)', (toArena) => {
  fc.assert(
    fc.property(fc.array(row, { maxLength: ROWS }), (rows) => check(rows, toArena)),
    { numRuns: process.env.BASEWIRE_LONG ? 20_000 : 300 },
  );
});

describe('refusals', () => {
  test('a handle that was unmapped', () => {
    const fd = native.memfd('gone', 4096, true);
    const region = native.mapRegion(fd, 0, 4096);
    native.closeDescriptor(fd);
    put([{ offset: 0, region, arena: 0, length: 10 }]);
    expect(native.gatherCopies(1)).toBe(0);
    native.unmapRegion(region);
    put([{ offset: 0, region, arena: 0, length: 0 }]);
    expect(native.gatherCopies(1)).toBe(1);
  });

  test('counts outside the list throw, rows are not touched', () => {
    put([{ offset: 0, region: -1, arena: 0, length: 10 }]);
    expect(() => native.gatherCopies(-1)).toThrow(RangeError);
    expect(() => native.deliverCopies(ROWS + 1)).toThrow(RangeError);
    expect(() => native.gatherCopies(undefined as never)).toThrow(TypeError);
    expect(native.gatherCopies(0)).toBe(0);
    expect(lengthAfter(0)).toBe(10);
  });

  test('one arena per thread', () => {
    expect(() => native.createArena(4096, 1)).toThrow(/has an arena/);
  });

  test('rows overlapping in the arena are carried out in order', () => {
    check(
      [
        { offset: 100, region: handles[0], arena: 0, length: 200 },
        { offset: 900, region: handles[0], arena: 50, length: 20 },
      ],
      true,
    );
  });
});

describe('a header in front of a line is right afterwards, whatever was there', () => {
  const FRAME = 64;
  const AT = 4096; // of the region: a line begins here

  test.each(Array.from({ length: 20 }, (_, index) => index))('%i bytes of it', (header) => {
    const length = header + FRAME;
    for (let wrong = -1; wrong < header; wrong++) {
      regions[0].set(arena.subarray(0, header), AT - header);
      if (wrong >= 0) regions[0][AT - header + wrong] ^= 0x40;
      const before = Uint8Array.from(regions[0]);
      put([{ offset: AT - header, region: handles[0], arena: 0, length }]);
      expect(native.deliverCopies(1)).toBe(0);
      before.set(arena.subarray(0, length), AT - header);
      expect(Buffer.compare(regions[0], before), `byte ${wrong}`).toBe(0);
    }
  });
});

describe('sums over ranges of the arena', () => {
  test('are those of RFC 1071, at any offset and length', () => {
    const range = fc.record({ at: fc.nat(ARENA), length: fc.nat(70_000) });
    fc.assert(
      fc.property(fc.array(range, { maxLength: 8 }), fc.nat(255), (ranges, fill) => {
        for (let i = 0; i < ARENA; i += 3) arena[i] = i * fill;
        const list = new Int32Array(ranges.flatMap(({ at, length }) => [at, length]));
        const expected = ranges.map(({ at, length }) =>
          length > 65_536 || at + length > ARENA ? -1 : sumBytes(arena, at, length),
        );
        const refused = expected.filter((sum) => sum < 0).length;
        expect(native.sumRanges(list, ranges.length)).toBe(refused);
        expect(ranges.map((_, i) => list[2 * i])).toEqual(expected);
        expect(ranges.map((_, i) => list[2 * i + 1])).toEqual(ranges.map(({ length }) => length));
      }),
    );
  });

  test('the longest range of ones, and what is not there', () => {
    arena.fill(0xff);
    const list = Int32Array.of(ARENA - 65_536, 65_536, -1, 4, 0, -1, ARENA, 1, ARENA, 0);
    expect(native.sumRanges(list, 5)).toBe(3);
    expect([0, 2, 4, 6, 8].map((i) => list[i])).toEqual([0xffff, -1, -1, -1, 0]);
  });

  test('wants pairs, and no more than there are', () => {
    expect(() => native.sumRanges(new Int32Array(4), 3)).toThrow(TypeError);
    expect(() => native.sumRanges(new Int32Array(4), -1)).toThrow(TypeError);
    expect(() => native.sumRanges(new Float64Array(4) as never, 1)).toThrow(TypeError);
    expect(native.sumRanges(new Int32Array(0), 0)).toBe(0);
  });
});
