/**
 * Whoever unmaps or closes memory last gives its pages back, which takes long where they are many: of a VM whose QEMU died that is the
 * base, and nobody may wait for it. Compared in one run: how long the caller waits, and how long it takes.
 */
import { readFileSync, writeSync } from 'node:fs';
import { expect, test } from 'vitest';
import { native } from '../../src/native.ts';
import { until } from '../support/until.ts';

const OWNER = 0;
const BYTES = 384 << 20;
const KIB = 1024;
/** As many files as one message can bring, nearly. */
const COUNT = 192;

/** Bytes of all shared memory of this machine. */
function shared(): number {
  return Number(/^Shmem: +(\d+) kB$/m.exec(readFileSync('/proc/meminfo', 'latin1'))![1]) * KIB;
}

/** A file of BYTES that are all there, and a mapping of it. */
function filled(): { fd: number; region: number } {
  const fd = native.memfd('large', BYTES, true);
  const region = native.mapRegion(fd, 0, BYTES, OWNER);
  const bytes = new Uint8Array(native.viewRegion(region, 0, BYTES));
  for (let at = 0; at < BYTES; at += 4096) bytes[at] = 1;
  return { fd, region };
}

/** How long `release` keeps its caller, of the time until the memory is free again. */
async function share(release: () => void): Promise<number> {
  const before = shared();
  const start = performance.now();
  release();
  const waited = performance.now() - start;
  await until('the memory to be free', () => shared() < before - BYTES / 2);
  return waited / (performance.now() - start);
}

test('memory that somebody shared is unmapped by another thread', async () => {
  const { fd, region } = filled();
  native.closeDescriptor(fd);
  expect(await share(() => native.unmapRegion(region))).toBeLessThan(0.5);
  await until('nothing to be closing', () => native.closing(OWNER) + native.unmapping(OWNER) === 0);
});

test('a descriptor of it is closed by another thread', async () => {
  const { fd, region } = filled();
  native.unmapRegion(region);
  await until('nothing to be closing', () => native.closing(OWNER) + native.unmapping(OWNER) === 0);
  expect(await share(() => native.closePassed(fd, OWNER))).toBeLessThan(0.5);
  await until('nothing to be closing', () => native.closing(OWNER) + native.unmapping(OWNER) === 0);
});

test('descriptors of as much in many files are closed by another thread, and count until they are', async () => {
  const fds = Array.from({ length: COUNT }, () => {
    const fd = native.memfd('one of many', 0, true);
    writeSync(fd, Buffer.alloc(BYTES / COUNT, 1));
    return fd;
  });
  let counted = 0;
  const release = () => {
    for (const fd of fds) {
      native.closePassed(fd, OWNER);
      counted = Math.max(counted, native.closing(OWNER));
    }
  };
  expect(await share(release)).toBeLessThan(0.5);
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
