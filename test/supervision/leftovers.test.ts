/** Descriptors of a dead worker are told apart from those of the main thread. */
import { closeSync, fstatSync, openSync } from 'node:fs';
import { expect, it } from 'vitest';
import { native } from '../../src/native.ts';
import { closeLeftovers, openDescriptors } from '../../src/supervision/leftovers.ts';

const isOpen = (fd: number) => {
  try {
    fstatSync(fd);
    return true;
  } catch {
    return false;
  }
};

it('closes what came later, keeps what was there or is named', () => {
  const early = native.eventfd();
  const before = openDescriptors();
  const [kept, peer] = native.unixPair();
  const left = [native.eventfd(), peer, openSync('/dev/null', 'r'), native.memfd('x', 4096, true)];
  expect(closeLeftovers(before, [kept])).toBe(4);
  expect(left.map(isOpen)).toEqual([false, false, false, false]);
  expect([isOpen(early), isOpen(kept)]).toEqual([true, true]);
  closeSync(kept);
  closeSync(early);
});

it('a number that was closed and used again is a leftover', () => {
  const [early, peer] = native.unixPair();
  const before = openDescriptors();
  native.closeDescriptor(early);
  const [later, other] = native.unixPair();
  expect(later).toBe(early);
  expect(closeLeftovers(before, [])).toBe(2);
  expect([isOpen(later), isOpen(other), isOpen(peer)]).toEqual([false, false, true]);
  native.closeDescriptor(peer);
});
