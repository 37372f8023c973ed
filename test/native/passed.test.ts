/** Descriptors that others passed, and connections with something unread, are closed without anybody waiting; what surely closes at once is closed at once. */
import { expect, test } from 'vitest';
import { native } from '../../src/native.ts';
import { isOpen } from '../support/is-open.ts';
import { Lingering, NO_LINGERING_EVENTFDS } from '../support/lingering.ts';
import { until } from '../support/until.ts';

const OWNER = 7;
const OTHER = 8;

test('memory and connections that are empty are closed at once', () => {
  const [left, right] = native.unixPair();
  const memory = native.memfd('passed', 4096, true);
  native.closePassed(memory, OWNER);
  expect(isOpen(memory)).toBe(false);
  native.closeConnection(left, OWNER);
  expect(isOpen(left)).toBe(false);
  expect(native.receive(right, new Uint8Array(1), 0, 1, new Int32Array(1))).toBe(0);
  native.closeDescriptor(right);
  expect(native.closing(OWNER)).toBe(0);
});

test('eventfds soon are, and as many as a VM may have do not count until then', async () => {
  const events = Array.from({ length: 512 }, () => native.eventfd());
  for (const fd of events) {
    native.closePassed(fd, OWNER);
    expect(native.closing(OWNER)).toBe(0);
  }
  await until('all to be closed', () => !events.some((fd) => isOpen(fd)));
});

test.skipIf(NO_LINGERING_EVENTFDS !== '')(
  `eventfds that somebody else watches keep nobody (needs root${NO_LINGERING_EVENTFDS && `; skipped: ${NO_LINGERING_EVENTFDS}`})`,
  async () => {
    const sockets = await Lingering.start(2, 'eventfds');
    const events = sockets.take();
    try {
      for (const fd of events) native.closePassed(fd, OWNER);
    } finally {
      await sockets.release();
    }
    await until('all to be closed', () => !events.some((fd) => isOpen(fd)));
  },
);

test('sockets that linger, passed or in a queue, keep nobody', async () => {
  const sockets = await Lingering.start(3);
  try {
    const [first, second, third] = sockets.take();
    const [left, right] = native.unixPair();
    native.send(left, new Uint8Array(1), 0, 1, Int32Array.of(third), 1);
    native.closeDescriptor(third);
    native.closePassed(first, OWNER);
    native.closePassed(second, OWNER);
    native.closeConnection(right, OTHER);
    expect(native.closing(OWNER)).toBe(2);
    expect(native.closing(OTHER)).toBe(1);
    // Its peer knows already.
    expect(native.send(left, new Uint8Array(1), 0, 1, null, 0)).toBe(-32);
    native.closeDescriptor(left);
  } finally {
    await sockets.release();
  }
  await until('all to be closed', () => native.closing(OWNER) + native.closing(OTHER) === 0);
});

test('what is no memory is told from what is without asking its file system', () => {
  const memory = native.memfd('memory', 4096, true);
  const bell = native.eventfd();
  const [left, right] = native.unixPair();
  expect([memory, bell, left].map((fd) => native.isSharedMemory(fd))).toEqual([true, false, false]);
  for (const fd of [memory, bell, left, right]) native.closeDescriptor(fd);
});
