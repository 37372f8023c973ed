/**
 * Eventfds and the waiter.
 */
import { spawnSync } from 'node:child_process';
import { readFileSync, writeSync } from 'node:fs';
import { afterEach, describe, expect, test } from 'vitest';
import { native, type Waiter } from '../../src/native.ts';

const IN = 1;
const OUT = 4;
const HUP = 16;

const opened: number[] = [];
const waiters: Waiter[] = [];

function bell(): number {
  const fd = native.eventfd();
  opened.push(fd);
  return fd;
}

function waiter(maxEvents = 8): Waiter {
  const made = native.createWaiter(maxEvents);
  waiters.push(made);
  return made;
}

/** [token, events] of what the last wait reported. */
function ready(from: Waiter, count: number): number[][] {
  return [...Array(count).keys()].map((i) => [from.events[2 * i], from.events[2 * i + 1]]);
}

afterEach(() => {
  for (const made of waiters.splice(0)) made.close();
  for (const fd of opened.splice(0)) native.closeDescriptor(fd);
});

describe('eventfd', () => {
  test('counts signals; drain clears', () => {
    const fd = bell();
    expect(native.drain(fd)).toBe(0);
    expect(native.signal(fd)).toBe(true);
    expect(native.signal(fd)).toBe(true);
    expect(native.drain(fd)).toBe(2);
    expect(native.drain(fd)).toBe(0);
  });

  test('full and blocking: signalling does not block, and keeps it signalled', () => {
    const fd = bell();
    const most = Buffer.alloc(8);
    most.writeBigUInt64LE(0xfffffffffffffffen);
    writeSync(fd, most);
    // What a front-end can do at any time with the flags that we share: a child's standard input is set to blocking.
    spawnSync('true', { stdio: [fd, 'ignore', 'ignore'] });
    const details = readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8');
    const flags = Number.parseInt(/flags:\s+(\d+)/.exec(details)?.[1] ?? '', 8);
    expect(flags & 0o4000, 'O_NONBLOCK').toBe(0);
    expect(native.signal(fd)).toBe(true);
    native.signalAll(new Int32Array([fd, fd]), 2);
    expect(native.drain(fd)).toBeGreaterThan(2 ** 63);
    expect(native.drain(fd), 'nor does draining').toBe(0);
  });

  test('an eventfd is known from what is none', () => {
    const memory = native.memfd('none', 4096, false);
    const [left, right] = native.unixPair();
    opened.push(memory, left, right);
    expect(native.isEventfd(bell())).toBe(true);
    for (const fd of [memory, left, 999_999]) expect(native.isEventfd(fd)).toBe(false);
  });

  test('signal of something that cannot be signalled is false, never an exception', () => {
    const [left, right] = native.unixPair();
    native.closeDescriptor(right);
    for (const fd of [-1, 999_999, left, Number.NaN]) expect(native.signal(fd)).toBe(false);
    native.closeDescriptor(left);
    expect(native.signal('bell' as never)).toBe(false);
  });

  test('signalAll leaves out what can’t be signalled, and signals the others', () => {
    const first = bell();
    const last = bell();
    native.signalAll(new Int32Array([first, -1, 999_999, last, 5]), 4);
    expect(native.drain(first)).toBe(1);
    expect(native.drain(last)).toBe(1);
    native.signalAll(new Int32Array([first]), 0);
    expect(native.drain(first)).toBe(0);
  });

  test('signalAll refuses counts beyond the list and other arrays', () => {
    expect(() => native.signalAll(new Int32Array(2), 3)).toThrow(TypeError);
    expect(() => native.signalAll(new Int32Array(2), -1)).toThrow(TypeError);
    expect(() => native.signalAll(new Uint8Array(8) as never, 1)).toThrow(TypeError);
    expect(() => native.signalAll(undefined as never, 1)).toThrow(TypeError);
  });
});

describe('waiter', () => {
  test('reports token and events; level-triggered until drained', () => {
    const made = waiter();
    const fd = bell();
    made.add(fd, 1234, IN, false);
    expect(made.wait(0)).toBe(0);
    native.signal(fd);
    expect(ready(made, made.wait(-1))).toEqual([[1234, IN]]);
    expect(made.wait(0)).toBe(1);
    native.drain(fd);
    expect(made.wait(0)).toBe(0);
  });

  test('edge: each signal is reported once, and nothing needs reading', () => {
    const made = waiter();
    const fd = bell();
    made.add(fd, 7, IN, true);
    for (let i = 0; i < 3; i++) {
      native.signal(fd);
      expect(ready(made, made.wait(-1))).toEqual([[7, IN]]);
      expect(made.wait(0)).toBe(0);
    }
  });

  test('several at once, and at most maxEvents per wait', () => {
    const made = waiter(2);
    const fds = [bell(), bell(), bell()];
    fds.forEach((fd, token) => {
      made.add(fd, token, IN, true);
      native.signal(fd);
    });
    const first = ready(made, made.wait(-1)).map(([token]) => token);
    const second = ready(made, made.wait(-1)).map(([token]) => token);
    expect([...first, ...second].sort()).toEqual([0, 1, 2]);
    expect(first.length).toBe(2);
  });

  test('modify changes token and interest, remove ends it and may be repeated', () => {
    const made = waiter();
    const [left, right] = native.unixPair();
    opened.push(left, right);
    made.add(left, 1, IN, false);
    made.modify(left, 2, IN | OUT, false);
    expect(ready(made, made.wait(-1))).toEqual([[2, OUT]]);
    made.remove(left);
    made.remove(left);
    made.remove(999_999);
    expect(made.wait(0)).toBe(0);
  });

  test('a peer that hangs up', () => {
    const made = waiter();
    const [left, right] = native.unixPair();
    opened.push(left);
    made.add(left, 5, IN, false);
    native.closeDescriptor(right);
    const [[token, events]] = ready(made, made.wait(-1));
    expect(token).toBe(5);
    expect(events & (IN | HUP)).toBe(IN | HUP);
  });

  test('microseconds: a short wait ends without an event', () => {
    const made = waiter();
    const start = process.hrtime.bigint();
    expect(made.wait(1500)).toBe(0);
    expect(process.hrtime.bigint() - start).toBeGreaterThanOrEqual(1_400_000n);
    expect(made.wait(1)).toBe(0);
  });

  test('tokens are any int32', () => {
    const made = waiter();
    const fd = bell();
    native.signal(fd);
    made.add(fd, -2_147_483_648, IN, false);
    expect(ready(made, made.wait(-1))[0][0]).toBe(-2_147_483_648);
  });

  test('what cannot be watched throws: files, closed descriptors, a descriptor twice', () => {
    const made = waiter();
    const fd = bell();
    const file = native.memfd('file', 1, false);
    opened.push(file);
    made.add(fd, 0, IN, false);
    expect(() => made.add(fd, 1, IN, false)).toThrow(/EEXIST/);
    expect(() => made.add(file, 1, IN, false)).toThrow(/EPERM/);
    expect(() => made.add(999_999, 1, IN, false)).toThrow(/EBADF/);
    expect(() => made.modify(file, 1, IN, false)).toThrow(/ENOENT|EPERM/);
  });

  test('close may be repeated; afterwards everything throws', () => {
    const made = native.createWaiter(1);
    const { wait, add } = made;
    made.close();
    made.close();
    expect(() => wait(0)).toThrow(/closed/);
    expect(() => add(0, 0, IN, false)).toThrow(/closed/);
    expect(made.events.length).toBe(2);
  });

  test('refuses sizes that make no sense', () => {
    for (const maxEvents of [0, -1, 1e9, 1.5, Number.NaN]) {
      expect(() => native.createWaiter(maxEvents)).toThrow(RangeError);
    }
  });
});
