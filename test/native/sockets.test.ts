/**
 * Unix sockets that carry descriptors.
 */
import {
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { native } from '../../src/native.ts';
import { until } from '../support/until.ts';

const EAGAIN = -11;
const EMSGSIZE = -90;
const EPIPE = -32;

let folder: string;
const opened: number[] = [];

function keep(fd: number): number {
  opened.push(fd);
  return fd;
}

function pair(): [number, number] {
  const [left, right] = native.unixPair();
  return [keep(left), keep(right)];
}

function count(): number {
  return readdirSync('/proc/self/fd').length;
}

function codeOf(action: () => unknown): string {
  try {
    action();
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? (error as Error).name;
  }
  return 'nothing thrown';
}

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'basewire-'));
});
afterEach(() => {
  for (const fd of opened.splice(0)) native.closeDescriptor(fd);
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe('listening', () => {
  test.each([
    [0o022, 0o777],
    [0o077, 0o666],
    [0o000, 0o600],
    [0o177, 0o660],
    [0o777, 0o600],
  ])('with umask %o the file gets exactly mode %o', (mask, mode) => {
    const path = join(folder, `mode-${mask}-${mode}`);
    const before = process.umask(mask);
    try {
      keep(native.unixListen(path, mode, 1));
      expect(statSync(path).mode & 0o7777).toBe(mode);
      expect(process.umask(), 'the umask is left alone').toBe(mask);
    } finally {
      process.umask(before);
    }
  });

  test('an address in use, a folder that is missing, names too long or empty', () => {
    const path = join(folder, 'file');
    writeFileSync(path, '');
    expect(codeOf(() => native.unixListen(path, 0o600, 1))).toBe('EADDRINUSE');
    expect(codeOf(() => native.unixListen(join(folder, 'no/such'), 0o600, 1))).toBe('ENOENT');
    const fits = join(folder, 'x'.repeat(107 - folder.length - 1));
    expect(fits.length).toBe(107);
    keep(native.unixListen(fits, 0o600, 1));
    keep(native.unixConnect(fits));
    for (const call of [
      (name: string) => native.unixListen(name, 0o600, 1),
      (name: string) => native.unixConnect(name),
    ]) {
      expect(codeOf(() => call(`${fits}y`))).toBe('ENAMETOOLONG');
      expect(codeOf(() => call(''))).toBe('EINVAL');
      expect(codeOf(() => call('a\0b'))).toBe('TypeError');
    }
    expect(readdirSync(folder).some((name) => name.endsWith('xy'))).toBe(false);
  });

  test('accepts, says who the peer is, and -1 when nobody waits', () => {
    const path = join(folder, 'accept');
    const listener = keep(native.unixListen(path, 0o600, 4));
    expect(native.unixAccept(listener)).toBe(-1);
    const client = keep(native.unixConnect(path));
    const server = keep(native.unixAccept(listener));
    expect(server).toBeGreaterThan(0);
    expect(native.peerCredentials(server)).toEqual({
      pid: process.pid,
      uid: process.getuid?.(),
      gid: process.getgid?.(),
    });
    expect(native.send(client, Buffer.from('hello'), 0, 5, null, 0)).toBe(5);
    const bytes = new Uint8Array(10);
    expect(native.receive(server, bytes, 2, 8, new Int32Array(1))).toBe(5);
    expect(Buffer.from(bytes.subarray(2, 7)).toString()).toBe('hello');
  });

  test('what a socket is', async () => {
    const kind = { family: 1, type: 1, listens: false, connected: true };
    const [left, right] = native.unixPair();
    expect(native.socketKind(left)).toEqual(kind);
    native.closeDescriptor(right);
    expect(native.socketKind(keep(left)), 'its peer is gone').toEqual(kind);
    const listener = keep(native.unixListen(join(folder, 'kind'), 0o600, 1));
    expect(native.socketKind(listener)).toEqual({ ...kind, listens: true, connected: false });
    const tcp = createServer().listen(0, '127.0.0.1');
    await new Promise((resolve) => tcp.once('listening', resolve));
    const { fd } = (tcp as unknown as { _handle: { fd: number } })._handle;
    expect(native.socketKind(fd)).toEqual({ family: 2, type: 1, listens: true, connected: false });
    tcp.close();
    expect(codeOf(() => native.socketKind(keep(native.eventfd())))).toBe('ENOTSOCK');
    expect(codeOf(() => native.socketKind(999_999))).toBe('EBADF');
  });

  test('what is no listener gives -errno', () => {
    const [left] = pair();
    expect(native.unixAccept(left)).toBe(-22);
    expect(native.unixAccept(999_999)).toBe(-9);
  });

  test('connecting: nobody there, nobody listening, a full backlog', () => {
    expect(codeOf(() => native.unixConnect(join(folder, 'none')))).toBe('ENOENT');
    const stale = join(folder, 'stale');
    native.closeDescriptor(native.unixListen(stale, 0o600, 1));
    expect(codeOf(() => native.unixConnect(stale))).toBe('ECONNREFUSED');
    const busy = join(folder, 'busy');
    keep(native.unixListen(busy, 0o600, 0));
    const tries = [...Array(5)].map(() => codeOf(() => keep(native.unixConnect(busy))));
    expect(tries.at(-1)).toBe('EAGAIN');
  });
});

describe('messages', () => {
  test('nothing to read is -EAGAIN, the end is 0, a closed peer is -EPIPE without a signal', () => {
    const [left, right] = native.unixPair();
    keep(left);
    const bytes = new Uint8Array(8);
    const fds = new Int32Array(4);
    expect(native.receive(left, bytes, 0, 8, fds)).toBe(EAGAIN);
    native.closeDescriptor(right);
    expect(native.receive(left, bytes, 0, 8, fds)).toBe(0);
    expect(native.send(left, bytes, 0, 8, null, 0)).toBe(EPIPE);
  });

  test('a full socket is -EAGAIN, and a part may be sent', () => {
    const [left] = pair();
    const bytes = new Uint8Array(100_000);
    let sent = 0;
    let last = 0;
    while (last >= 0) {
      last = native.send(left, bytes, 0, bytes.length, null, 0);
      if (last > 0) sent += last;
    }
    expect(last).toBe(EAGAIN);
    expect(sent).toBeGreaterThan(bytes.length);
  });

  test.each([1, 8, 253])('%i descriptors come along, close-on-exec', (number) => {
    const [left, right] = pair();
    const bells = Int32Array.from({ length: number }, () => keep(native.eventfd()));
    const before = count();
    expect(native.send(left, Buffer.from([1]), 0, 1, bells, number)).toBe(1);
    const fds = new Int32Array(254);
    expect(native.receive(right, new Uint8Array(4), 0, 4, fds)).toBe(1);
    expect(fds[0]).toBe(number);
    expect(count()).toBe(before + number);
    const got = [...fds.subarray(1, 1 + number)].map(keep);
    expect(new Set(got).size).toBe(number);
    for (const fd of got) expect(readlinkSync(`/proc/self/fd/${fd}`)).toBe('anon_inode:[eventfd]');
    native.signal(got[number - 1]);
    expect(native.drain(bells[number - 1])).toBe(1);
    const details = readFileSync(`/proc/self/fdinfo/${got[0]}`, 'utf8');
    const flags = Number.parseInt(/flags:\s+(\d+)/.exec(details)?.[1] ?? '0', 8);
    expect(flags & 0o2000000).toBe(0o2000000);
  });

  test('descriptors stay with their bytes: the next message has none', () => {
    const [left, right] = pair();
    const bell = Int32Array.of(keep(native.eventfd()));
    const fds = new Int32Array(9);
    native.send(left, Buffer.from([1]), 0, 1, bell, 1);
    native.send(left, Buffer.from([2]), 0, 1, null, 0);
    expect(native.receive(right, new Uint8Array(1), 0, 1, fds)).toBe(1);
    expect(fds[0]).toBe(1);
    keep(fds[1]);
    expect(native.receive(right, new Uint8Array(1), 0, 1, fds)).toBe(1);
    expect(fds[0]).toBe(0);
  });

  test('more descriptors than fds holds: -EMSGSIZE, all of them closed', async () => {
    const [left, right] = pair();
    const bells = Int32Array.from({ length: 20 }, () => keep(native.eventfd()));
    const before = count();
    native.send(left, Buffer.from([1]), 0, 1, bells, 20);
    const fds = new Int32Array(9).fill(-7);
    expect(native.receive(right, new Uint8Array(4), 0, 4, fds)).toBe(EMSGSIZE);
    expect(fds[0]).toBe(0);
    // By another thread.
    await until('all of them to be closed', () => count() === before);
  });

  test('ranges outside the arrays and other types throw before anything is read', () => {
    const [left, right] = pair();
    const bytes = new Uint8Array(8);
    const fds = new Int32Array(2);
    native.send(left, bytes, 0, 8, null, 0);
    for (const [at, length] of [
      [0, 9],
      [8, 1],
      [-1, 2],
      [0, 0],
      [2 ** 31, 1],
      [0.5, 1],
      [0, Number.NaN],
    ]) {
      expect(() => native.receive(right, bytes, at, length, fds)).toThrow(RangeError);
      expect(() => native.send(right, bytes, at, length, null, 0)).toThrow(RangeError);
    }
    expect(() => native.receive(right, bytes, 0, 8, new Int32Array(0))).toThrow(RangeError);
    expect(() => native.receive(right, bytes, 0, 8, new Uint8Array(9) as never)).toThrow(TypeError);
    expect(() => native.receive(right, new DataView(bytes.buffer) as never, 0, 8, fds)).toThrow(
      TypeError,
    );
    expect(() => native.send(right, bytes, 0, 8, fds, 3)).toThrow(RangeError);
    expect(() => native.send(right, bytes, 0, 8, null, 1)).toThrow(TypeError);
    expect(() => native.send(right, bytes, 0, 8, new Int32Array(300), 254)).toThrow(RangeError);
    expect(native.receive(right, bytes, 0, 8, fds)).toBe(8);
  });

  test('receiving from what is no socket gives -errno', () => {
    const fds = new Int32Array(1);
    expect(native.receive(keep(native.eventfd()), new Uint8Array(1), 0, 1, fds)).toBe(-88);
    expect(native.receive(999_999, new Uint8Array(1), 0, 1, fds)).toBe(-9);
  });
});

describe('descriptors', () => {
  test('duplicate: the same file, another number', () => {
    const bell = keep(native.eventfd());
    const copy = keep(native.duplicate(bell));
    expect(copy).not.toBe(bell);
    native.signal(copy);
    expect(native.drain(bell)).toBe(1);
    expect(codeOf(() => native.duplicate(999_999))).toBe('EBADF');
  });

  test('closing twice throws EBADF', () => {
    const bell = native.eventfd();
    native.closeDescriptor(bell);
    expect(codeOf(() => native.closeDescriptor(bell))).toBe('EBADF');
    expect(() => native.closeDescriptor(-1)).toThrow(RangeError);
  });

  test('setNonBlocking', () => {
    const [left] = pair();
    native.setNonBlocking(left);
    expect(codeOf(() => native.setNonBlocking(999_999))).toBe('EBADF');
  });
});

test('netlink: opens, has nothing to say, and is the caller’s', () => {
  const before = count();
  const fd = native.netlinkOpen();
  expect(native.receive(fd, new Uint8Array(65_536), 0, 65_536, new Int32Array(1))).toBe(EAGAIN);
  native.closeDescriptor(fd);
  expect(count()).toBe(before);
});
