/**
 * What basewire takes for granted of Linux: small programs that ask the kernel itself.
 */
import { readFileSync, statSync, unlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { native } from '../../src/native.ts';
import { untilSealed } from '../support/sealed.ts';

const IN = 1;
const HUP = 16;

const opened: number[] = [];

function keep(fd: number): number {
  opened.push(fd);
  return fd;
}

afterEach(() => {
  for (const fd of opened.splice(0)) native.closeDescriptor(fd);
});

describe('eventfd under epoll', () => {
  test('edge-triggered: every write is a new edge, although nobody reads', () => {
    const waiter = native.createWaiter(4);
    const bell = keep(native.eventfd());
    waiter.add(bell, 1, IN, true);
    for (let i = 0; i < 5; i++) {
      expect(waiter.wait(0)).toBe(0);
      native.signal(bell);
      expect(waiter.wait(-1)).toBe(1);
    }
    expect(native.drain(bell)).toBe(5);
    waiter.close();
  });

  test('edge-triggered: a count that was there before adding is reported', () => {
    const waiter = native.createWaiter(4);
    const bell = keep(native.eventfd());
    native.signal(bell);
    waiter.add(bell, 1, IN, true);
    expect(waiter.wait(0)).toBe(1);
    waiter.close();
  });

  test('a descriptor stays watched while a copy of it is open: remove before close', () => {
    const waiter = native.createWaiter(4);
    const bell = native.eventfd();
    const copy = keep(native.duplicate(bell));
    waiter.add(bell, 1, IN, true);
    native.closeDescriptor(bell);
    native.signal(copy);
    expect(waiter.wait(0)).toBe(1);
    waiter.close();
  });

  test('the other end of a socket that closes is IN and HUP', () => {
    const waiter = native.createWaiter(4);
    const [left, right] = native.unixPair();
    keep(left);
    waiter.add(left, 1, IN, true);
    native.closeDescriptor(right);
    expect(waiter.wait(-1)).toBe(1);
    expect(waiter.events[1] & (IN | HUP)).toBe(IN | HUP);
    waiter.close();
  });
});

describe('memfd', () => {
  test('a seal against shrinking holds, and is refused where sealing was not asked for', async () => {
    const sealable = keep(native.memfd('seals', 8192, true));
    const plain = keep(native.memfd('seals', 8192, false));
    for (const fd of [sealable, plain]) native.unmapRegion(native.mapRegion(fd, 0, 4096, 0));
    await untilSealed(sealable, 4096);
    expect(native.truncate(plain, 4096)).toBe(0);
  });

  test('is known by /proc/self/fd, as eventfds are', () => {
    const fd = keep(native.memfd('seals', 1, true));
    const bell = keep(native.eventfd());
    const info = (of: number) => readFileSync(`/proc/self/fdinfo/${of}`, 'utf8');
    expect(info(bell)).toContain('eventfd-count');
    expect(info(fd)).not.toContain('eventfd-count');
  });
});

describe('Unix sockets', () => {
  test('fchmod before bind: the file is never wider than asked; nobody connects before listen', () => {
    const path = join(tmpdir(), `basewire-platform-${process.pid}`);
    const before = process.umask(0);
    try {
      keep(native.unixListen(path, 0o600, 1));
      expect(statSync(path).mode & 0o777).toBe(0o600);
    } finally {
      process.umask(before);
      unlinkSync(path);
    }
  });

  test('a read goes on into a message with descriptors, but stops behind it', () => {
    const [left, right] = native.unixPair();
    keep(left);
    keep(right);
    const bells = Int32Array.of(keep(native.eventfd()));
    const fds = new Int32Array(4);
    native.send(left, Buffer.from('aa'), 0, 2, null, 0);
    native.send(left, Buffer.from('bb'), 0, 2, bells, 1);
    native.send(left, Buffer.from('cc'), 0, 2, bells, 1);
    // So who reads more than one message at once can't tell whose descriptors they are: read by header, then payload.
    for (const length of [4, 2]) {
      expect(native.receive(right, new Uint8Array(8), 0, 8, fds)).toBe(length);
      expect(fds[0]).toBe(1);
      keep(fds[1]);
    }
  });
});
