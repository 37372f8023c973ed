import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Backlog, BACKLOG_BYTES, BACKLOG_DATAGRAMS, FOR_ALL } from '../../src/port/backlog.ts';
import { BaseStorage, FRAME_OFFSET, HEADER_BYTES } from '../../src/storage/base-storage.ts';

const TURN = 1 << 20;
const SENDERS = 256;
/** A turn's storage, a backlog behind it, and 64 bytes after that nobody may touch. */
function make() {
  const storage = new BaseStorage(new ArrayBuffer(TURN + BACKLOG_BYTES + 64), TURN, 16);
  return { storage, backlog: new Backlog(storage, TURN, SENDERS) };
}

function frame(storage: BaseStorage, length: number, mark: number): number {
  const at = FRAME_OFFSET;
  storage.bytes.fill(mark, at - HEADER_BYTES, at + length);
  return at;
}

/** The oldest of all: where it is, its length and origin. */
function oldest(backlog: Backlog) {
  const entry = backlog.next(-1, 0);
  return { at: backlog.at(entry), length: backlog.length(entry), from: backlog.from(entry) };
}

const shift = (backlog: Backlog) => backlog.remove(backlog.next(-1, 0));

describe('a backlog', () => {
  test('gives back what was added, in order, with header and origin', () => {
    const { storage, backlog } = make();
    for (let mark = 1; mark <= 3; mark++) {
      expect(backlog.add(frame(storage, 60 + mark, mark), 60 + mark, 7 + mark, 0)).toBe(true);
    }
    for (let mark = 1; mark <= 3; mark++) {
      const { at, length, from } = oldest(backlog);
      expect([length, from]).toEqual([60 + mark, 7 + mark]);
      const bytes = storage.bytes.subarray(at - HEADER_BYTES, at + length);
      expect(bytes.every((byte) => byte === mark)).toBe(true);
      expect(at % 4).toBe(2); // as in a slot: the IP header is aligned
      shift(backlog);
    }
    expect(backlog.count).toBe(0);
  });

  test('is bounded in datagrams', () => {
    const { storage, backlog } = make();
    for (let index = 0; index < FOR_ALL.datagrams; index++) {
      expect(backlog.add(frame(storage, 60, 1), 60, 0, 0)).toBe(true);
    }
    expect(backlog.add(frame(storage, 60, 1), 60, 0, 0)).toBe(false);
    shift(backlog);
    expect(backlog.add(frame(storage, 60, 1), 60, 0, 0)).toBe(true);
    for (let from = -1; backlog.count < BACKLOG_DATAGRAMS; from++) {
      if (from !== 0) expect(backlog.add(frame(storage, 60, 1), 60, from, 0)).toBe(true);
    }
    expect(backlog.add(frame(storage, 60, 1), 60, SENDERS - 1, 0)).toBe(false);
  });

  test.each([60, 1514, 9014])('a flood leaves room for others, frames of %i bytes', (length) => {
    const { storage, backlog } = make();
    const add = (from: number) => backlog.add(frame(storage, length, 1), length, from, 0);
    while (add(1));
    const flood = backlog.count;
    // Another one gets half of the rest, a third one half of what is left then; and the flooder nothing, whatever goes.
    let other = 0;
    while (add(2)) other++;
    const reserve = Math.floor((flood * BACKLOG_BYTES) / FOR_ALL.bytes) - flood;
    expect(other).toBeGreaterThanOrEqual(Math.floor(reserve / 2));
    expect(add(1)).toBe(false);
    expect(add(3)).toBe(true);
    for (let left = other; left > 0; left--) shift(backlog);
    expect(add(1)).toBe(false);
    expect(add(2)).toBe(true);
    while (backlog.count > 0) shift(backlog);
    let again = 0;
    while (add(2)) again++;
    expect(again, 'nobody is remembered').toBe(flood);
  });

  test('is bounded in bytes, and takes the longest frame there is', () => {
    const { storage, backlog } = make();
    let count = 0;
    while (backlog.add(frame(storage, 65_550, 1), 65_550, 0, 0)) count++;
    expect(count).toBe(Math.floor(FOR_ALL.bytes / 65_600));
    expect(backlog.add(frame(storage, 65_550, 1), 65_550, 1, 0)).toBe(true);
    while (backlog.count > 0) shift(backlog);
    expect(backlog.add(frame(storage, 65_550, 1), 65_550, 0, 0)).toBe(true);
  });

  test('a pair that takes nothing leaves the others their room, and what waits for it as it was', () => {
    const { storage, backlog } = make();
    for (const length of [9014, 60, 65_550])
      expect(backlog.add(frame(storage, length, 9), length, 0, 0)).toBe(true);
    // More than the room has entries or bytes, several times over.
    for (let index = 0; index < 4 * BACKLOG_DATAGRAMS; index++) {
      const length = index % 3 === 0 ? 65_550 : 60;
      expect(backlog.add(frame(storage, length, 1), length, 0, 1), `${index}`).toBe(true);
      backlog.remove(backlog.next(-1, 1 << 0));
      expect([backlog.waitingFor(0), backlog.waitingFor(1)]).toEqual([3, 0]);
    }
    for (const expected of [9014, 60, 65_550]) {
      const { at, length } = oldest(backlog);
      expect(length).toBe(expected);
      const bytes = storage.bytes.subarray(at - HEADER_BYTES, at + length);
      expect(bytes.every((byte) => byte === 9)).toBe(true);
      shift(backlog);
    }
  });

  test.each([60, 9014])('nor does one that fills what anyone may, frames of %i bytes', (length) => {
    const { storage, backlog } = make();
    const add = (from: number, pair: number) =>
      backlog.add(frame(storage, length, 1), length, from, pair);
    while (add(0, 0));
    const stalled = backlog.count;
    for (let index = 0; index < 2 * BACKLOG_DATAGRAMS; index++) {
      expect(add(1, 1), `${index}`).toBe(true);
      backlog.remove(backlog.next(-1, 1 << 0));
    }
    expect([backlog.waitingFor(0), backlog.waitingFor(1)]).toEqual([stalled, 0]);
  });

  test('that is full to the last byte writes over nothing', () => {
    const { storage, backlog } = make();
    const length = 2048 - FRAME_OFFSET;
    let from = 0;
    const add = (mark: number) => backlog.add(frame(storage, length, mark), length, from, 0);
    while (backlog.count < FOR_ALL.bytes / 2048) expect(add(1)).toBe(true);
    for (from = 1; backlog.count < BACKLOG_BYTES / 2048; from++) expect(add(1)).toBe(true);
    // The oldest goes and another comes in its place, in front of what is the oldest now.
    shift(backlog);
    expect(add(1)).toBe(true);
    // A single gap is not worth closing.
    backlog.remove(backlog.next(-1, 0) + 5);
    from++;
    expect(add(2)).toBe(false);
    const { at } = oldest(backlog);
    expect(storage.bytes.subarray(at, at + length).every((byte) => byte === 1)).toBe(true);
  });

  test('any sequence: nothing is lost, changed, overtaken within a pair, or written outside', () => {
    const pair = fc.integer({ min: 0, max: 2 });
    const step = fc.oneof(
      fc.record({ add: fc.integer({ min: 14, max: 65_550 }), pair }),
      fc.record({ add: fc.integer({ min: 14, max: 1514 }), pair }),
      fc.record({ take: fc.integer({ min: 1, max: 8 }), full: fc.integer({ min: 0, max: 6 }) }),
      fc.record({ swap: fc.constant(true) }),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 300 }), (steps) => {
        const { storage, backlog } = make();
        let model: { length: number; mark: number; pair: number }[] = [];
        let mark = 0;
        for (const action of steps) {
          if ('add' in action) {
            mark = (mark % 250) + 1;
            const at = frame(storage, action.add, mark);
            if (backlog.add(at, action.add, mark, action.pair))
              model.push({ length: action.add, mark, pair: action.pair });
            else expect(model.length).toBeGreaterThan(0); // an empty one takes any frame
          } else if ('swap' in action) {
            // Rings came or went: what waited for 0 waits for 1, and the other way round.
            const other = (one: number) => (one < 2 ? 1 - one : one);
            let index = 0;
            backlog.assign(() => other(model[index++]!.pair));
            model = model.map((one) => ({ ...one, pair: other(one.pair) }));
          } else {
            let entry = -1;
            for (let left = action.take; left > 0; left--) {
              const expected = model.find((one) => ((action.full >> one.pair) & 1) === 0);
              entry = backlog.next(entry, action.full);
              if (expected === undefined) {
                expect(entry).toBe(-1);
                break;
              }
              model.splice(model.indexOf(expected), 1);
              const at = backlog.at(entry);
              const length = backlog.length(entry);
              expect([length, backlog.pair(entry)]).toEqual([expected.length, expected.pair]);
              const start = at - HEADER_BYTES;
              expect(start).toBeGreaterThanOrEqual(TURN);
              for (const byte of [start, at, at + length - 1])
                expect(storage.bytes[byte]).toBe(expected.mark);
              backlog.remove(entry);
            }
          }
          expect(backlog.count).toBe(model.length);
          for (const one of [0, 1, 2])
            expect(backlog.waitingFor(one)).toBe(model.filter((m) => m.pair === one).length);
          expect(storage.bytes.subarray(TURN + BACKLOG_BYTES).every((byte) => byte === 0)).toBe(
            true,
          );
        }
      }),
      { numRuns: 100 },
    );
  });
});
