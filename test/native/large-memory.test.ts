/**
 * Whoever unmaps or closes memory last gives its pages back, which takes long where they are many: of a VM whose QEMU died that is the
 * base, and nobody may wait for it. Compared in one run: the processor time that it takes the caller, and what it takes to do it oneself.
 */
import { writeSync } from 'node:fs';
import { expect, test } from 'vitest';
import { native } from '../../src/native.ts';
import { until } from '../support/until.ts';

const OWNER = 0;
const BYTES = 384 << 20;
/** As many files as one message can bring, nearly. */
const COUNT = 192;

/** A file of BYTES that are all there, and a mapping of it. */
function filled(): { fd: number; region: number } {
  const fd = native.memfd('large', BYTES, true);
  const region = native.mapRegion(fd, 0, BYTES, OWNER);
  const bytes = new Uint8Array(native.viewRegion(region, 0, BYTES));
  for (let at = 0; at < BYTES; at += 4096) bytes[at] = 1;
  return { fd, region };
}

/** Milliseconds of processor time that `action` takes this thread. */
function worked(action: () => void): number {
  native.readWorked();
  const before = native.worked[0];
  action();
  native.readWorked();
  return native.worked[0] - before;
}

/** COUNT files that have BYTES together. */
const files = () =>
  Array.from({ length: COUNT }, () => {
    const fd = native.memfd('one of many', 0, true);
    writeSync(fd, Buffer.alloc(BYTES / COUNT, 1));
    return fd;
  });

/** What it takes to give as much back oneself. */
const own = files();
const oneself = worked(() => {
  for (const fd of own) native.closeDescriptor(fd);
});

test('memory that somebody shared is unmapped by another thread', async () => {
  const { fd, region } = filled();
  native.closeDescriptor(fd);
  expect(worked(() => native.unmapRegion(region))).toBeLessThan(oneself / 2);
  await until('nothing to be closing', () => native.closing(OWNER) + native.unmapping(OWNER) === 0);
});

test('a descriptor of it is closed by another thread', async () => {
  const { fd, region } = filled();
  native.unmapRegion(region);
  await until('nothing to be closing', () => native.closing(OWNER) + native.unmapping(OWNER) === 0);
  expect(worked(() => native.closePassed(fd, OWNER))).toBeLessThan(oneself / 2);
  await until('nothing to be closing', () => native.closing(OWNER) + native.unmapping(OWNER) === 0);
});

test('descriptors of as much in many files are closed by another thread, and count until they are', async () => {
  const fds = files();
  let counted = 0;
  const release = () => {
    for (const fd of fds) {
      native.closePassed(fd, OWNER);
      counted = Math.max(counted, native.closing(OWNER));
    }
  };
  expect(worked(release)).toBeLessThan(oneself / 2);
  expect(counted).toBeGreaterThan(0);
  await until('nothing to be closing', () => native.closing(OWNER) + native.unmapping(OWNER) === 0);
});

test('while it is being unmapped it counts', async () => {
  const { fd, region } = filled();
  native.closeDescriptor(fd);
  native.unmapRegion(region);
  expect(native.unmapping(OWNER)).toBeGreaterThanOrEqual(BYTES);
  await until('nothing to be closing', () => native.closing(OWNER) + native.unmapping(OWNER) === 0);
});
