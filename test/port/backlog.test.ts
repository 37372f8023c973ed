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

describe('a backlog', () => {
  test('gives back what was added, in order, with header and origin', () => {
    const { storage, backlog } = make();
    for (let mark = 1; mark <= 3; mark++) {
      expect(backlog.add(frame(storage, 60 + mark, mark), 60 + mark, 7 + mark)).toBe(true);
    }
    for (let mark = 1; mark <= 3; mark++) {
      expect([backlog.length, backlog.from]).toEqual([60 + mark, 7 + mark]);
      const bytes = storage.bytes.subarray(backlog.at - HEADER_BYTES, backlog.at + backlog.length);
      expect(bytes.every((byte) => byte === mark)).toBe(true);
      expect(backlog.at % 4).toBe(2); // as in a slot: the IP header is aligned
      backlog.shift();
    }
    expect(backlog.count).toBe(0);
  });

  test('is bounded in datagrams', () => {
    const { storage, backlog } = make();
    for (let index = 0; index < FOR_ALL.datagrams; index++) {
      expect(backlog.add(frame(storage, 60, 1), 60, 0)).toBe(true);
    }
    expect(backlog.add(frame(storage, 60, 1), 60, 0)).toBe(false);
    backlog.shift();
    expect(backlog.add(frame(storage, 60, 1), 60, 0)).toBe(true);
    for (let from = -1; backlog.count < BACKLOG_DATAGRAMS; from++) {
      if (from !== 0) expect(backlog.add(frame(storage, 60, 1), 60, from)).toBe(true);
    }
    expect(backlog.add(frame(storage, 60, 1), 60, SENDERS - 1)).toBe(false);
  });

  test.each([60, 1514, 9014])('a flood leaves room for others, frames of %i bytes', (length) => {
    const { storage, backlog } = make();
    const add = (from: number) => backlog.add(frame(storage, length, 1), length, from);
    while (add(1));
    const flood = backlog.count;
    // Another one gets half of the rest, a third one half of what is left then; and the flooder nothing, whatever goes.
    let other = 0;
    while (add(2)) other++;
    const reserve = Math.floor((flood * BACKLOG_BYTES) / FOR_ALL.bytes) - flood;
    expect(other).toBeGreaterThanOrEqual(Math.floor(reserve / 2));
    expect(add(1)).toBe(false);
    expect(add(3)).toBe(true);
    for (let left = other; left > 0; left--) backlog.shift();
    expect(add(1)).toBe(false);
    expect(add(2)).toBe(true);
    while (backlog.count > 0) backlog.shift();
    let again = 0;
    while (add(2)) again++;
    expect(again, 'nobody is remembered').toBe(flood);
  });

  test('is bounded in bytes, and takes the longest frame there is', () => {
    const { storage, backlog } = make();
    let count = 0;
    while (backlog.add(frame(storage, 65_550, 1), 65_550, 0)) count++;
    expect(count).toBe(Math.floor(FOR_ALL.bytes / 65_600));
    expect(backlog.add(frame(storage, 65_550, 1), 65_550, 1)).toBe(true);
    while (backlog.count > 0) backlog.shift();
    expect(backlog.add(frame(storage, 65_550, 1), 65_550, 0)).toBe(true);
  });

  test('any sequence: nothing is lost, changed, overtaken or written outside', () => {
    const step = fc.oneof(
      fc.record({ add: fc.integer({ min: 14, max: 65_550 }) }),
      fc.record({ add: fc.integer({ min: 14, max: 1514 }) }),
      fc.record({ shift: fc.integer({ min: 1, max: 8 }) }),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 300 }), (steps) => {
        const { storage, backlog } = make();
        const model: { length: number; mark: number }[] = [];
        let mark = 0;
        for (const action of steps) {
          if ('add' in action) {
            mark = (mark % 250) + 1;
            const at = frame(storage, action.add, mark);
            if (backlog.add(at, action.add, mark)) model.push({ length: action.add, mark });
            else expect(model.length).toBeGreaterThan(0); // an empty one takes any frame
          } else {
            for (let left = action.shift; left > 0 && model.length > 0; left--) {
              const expected = model.shift()!;
              expect(backlog.length).toBe(expected.length);
              const start = backlog.at - HEADER_BYTES;
              expect(start).toBeGreaterThanOrEqual(TURN);
              for (const at of [start, backlog.at, backlog.at + backlog.length - 1]) {
                expect(storage.bytes[at]).toBe(expected.mark);
              }
              backlog.shift();
            }
          }
          expect(backlog.count).toBe(model.length);
          expect(storage.bytes.subarray(TURN + BACKLOG_BYTES).every((byte) => byte === 0)).toBe(
            true,
          );
        }
      }),
      { numRuns: 60 },
    );
  });
});
