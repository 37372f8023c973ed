/**
 * What the main thread is told of a port, by a real base in this thread with a clock of the test's: enough, in time, and never so much
 * that a front-end could keep the main thread busy.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test, vi } from 'vitest';
import { Base } from '../../src/base/base.ts';
import type { FromWorker, VmDetail } from '../../src/base/messages.ts';
import type { SocketPlan } from '../../src/plan.ts';
import { Counters } from '../../src/counters.ts';
import { native } from '../../src/native.ts';
import { Ring } from '../../src/port/ring.ts';
import { encodeMessage, FrontEnd } from '../support/frontend.ts';
import { Lingering } from '../support/lingering.ts';
import { lanPlan } from '../support/lan-plan.ts';
import { FEATURE, REQUEST, u64, vringState } from '../support/protocol.ts';
import { until } from '../support/until.ts';

const MESSAGES = 2000;

let folder: string;
let path: string;
let base: Base;
let frontEnd: FrontEnd;
let now: number;
let told: VmDetail[];

/** As the worker does it. */
function round(): void {
  base.turn.time[0] = now;
  base.turn.run();
  if (base.deadline.take(now)) base.deadline.by(now + Math.max(base.tick(now), 1));
  base.watcher.wait(0);
}

function pass(milliseconds: number): void {
  now += milliseconds;
  round();
}

const counters = new Counters(1);

/** Answers to `show`. */
let shown: number[] = [];

/** Log lines. */
let logged: string[] = [];

function post(message: FromWorker): void {
  if (message.kind === 'log') logged.push(message.message);
  if (message.kind === 'vm') told.push(message.detail);
  if (message.kind === 'shown') shown.push(message.id);
}

/** Sends without waiting, and has the base serve it. */
async function say(request: number, payload: Uint8Array): Promise<void> {
  await frontEnd.sendBytes(encodeMessage(request, payload));
  round();
}

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'basewire-test-'));
  path = join(folder, 'a.sock');
  const allowed = { fileMode: 0o600, uid: -1, gid: -1, allowUids: null };
  const sockets: SocketPlan[] = [{ path, mode: 'server', fd: -1, ...allowed }];
  const plan = lanPlan([{ name: 'a', addresses: ['10.77.0.10'], sockets }]);
  now = 1000;
  told = [];
  // One for all tests: a thread has one arena.
  base = new Base(native, plan, counters.buffer, post, () => now);
  base.open();
});
afterAll(() => {
  base.close();
  rmSync(folder, { recursive: true, force: true });
});
beforeEach(async () => {
  pass(1000);
  frontEnd = await FrontEnd.connect(path);
  round();
  for (let count = 0; count < 2; count++) pass(1000);
  told = [];
});
afterEach(() => {
  frontEnd.close();
  round();
});

const enabled = (detail?: VmDetail): boolean | undefined => detail?.rings[1]?.enabled;

test('a change is told at once', async () => {
  await say(REQUEST.SET_VRING_NUM, vringState(1, 256));
  await say(REQUEST.SET_VRING_ENABLE, vringState(1, 1));
  expect(told.map(enabled)).toEqual([true]);
});

test('a flood of changes is told now and then, and how it ended always', async () => {
  await say(REQUEST.SET_FEATURES, u64(FEATURE.VERSION_1 | FEATURE.PROTOCOL_FEATURES));
  for (let ending = 0; ending < 2; ending++) {
    for (let count = 0; count < 2; count++) pass(1000);
    told = [];
    const start = now;
    for (let count = 0; count < MESSAGES; count++) {
      await say(REQUEST.SET_VRING_ENABLE, vringState(1, (count + ending) & 1));
      now += 0.23; // not the same state whenever something is told
    }
    const most = 10 + Math.ceil((now - start) / 1000) + 1; // ten soon one after the other, then one in a second
    expect(told.length).toBeGreaterThan(1);
    expect(told.length).toBeLessThanOrEqual(most);
    pass(1000);
    expect(enabled(told.at(-1))).toBe(((MESSAGES - 1 + ending) & 1) === 1);
    const { length } = told;
    pass(1000);
    expect(told.length, 'nothing more to tell').toBe(length);
  }
});

test('a kick descriptor that was given back wakes nobody, though its driver keeps it', async () => {
  const kick = native.eventfd();
  try {
    await frontEnd.sendBytes(encodeMessage(REQUEST.SET_VRING_KICK, u64(1n)), [kick]);
    round();
    native.signal(kick);
    expect(base.watcher.wait(0)).toBe(1);
    await say(REQUEST.GET_VRING_BASE, vringState(1, 0));
    native.signal(kick);
    expect(base.watcher.wait(0)).toBe(0);
  } finally {
    native.closeDescriptor(kick);
  }
});

test('so is a connection that ends', async () => {
  for (let count = 0; count < 9; count++)
    await say(REQUEST.SET_VRING_ENABLE, vringState(1, count & 1));
  frontEnd.close();
  round();
  expect(told.at(-1)?.state).toBe('connected');
  // The worker sleeps no longer than until it may be told.
  expect(base.deadline.left(now)).toBeLessThanOrEqual(20_000);
  pass(20);
  expect(told.at(-1)?.state).toBe('waiting');
});

test('who asks is shown it as it is now', async () => {
  for (let count = 0; count < 20; count++) {
    await say(REQUEST.SET_VRING_ENABLE, vringState(1, count & 1));
    pass(20);
  }
  const last = enabled(told.at(-1))!;
  await say(REQUEST.SET_VRING_ENABLE, vringState(1, last ? 0 : 1));
  expect(enabled(told.at(-1)), 'not told yet').toBe(last);
  shown = [];
  base.receive({ kind: 'show', id: 7 });
  expect(enabled(told.at(-1))).toBe(!last);
  expect(shown).toEqual([7]);
});

test('connections that are refused have few lines, and leave the others to the front-end that is there', async () => {
  frontEnd.close();
  round();
  pass(60_000);
  frontEnd = await FrontEnd.connect(path);
  round();
  logged = [];
  for (let count = 0; count < 50; count++) {
    native.closeDescriptor(native.unixConnect(path));
    round();
  }
  const refusal = `connection refused: process ${process.pid} of user ${process.getuid!()} is a second front-end while one is there`;
  expect(logged).toEqual(new Array(5).fill(refusal));
  frontEnd.close();
  round();
  expect(logged.at(-1)).toMatch(/^front-end disconnected: /);
  logged = [];
  pass(60_000);
  expect(logged).toEqual(['45 more connections were refused']);
});

test('whoever tries to connect without a pause waits, and is taken when the front-end that is there goes', async () => {
  const refusedBefore = () => counters.get(0, 'refusedConnections');
  const before = refusedBefore();
  const waiting: number[] = [];
  for (let count = 0; count < 80; count++) {
    waiting.push(native.unixConnect(path));
    round();
  }
  expect(refusedBefore() - before).toBe(65); // the burst, and the one that exceeds it
  frontEnd.close();
  for (let rounds = 0; rounds < 3; rounds++) round();
  expect(logged.at(-1)).toBe('front-end connected');
  for (const fd of waiting) native.closeDescriptor(fd);
  for (let seconds = 0; seconds < 4; seconds++) pass(1000);
});

test('whoever can’t be accepted, as no descriptor is left, wakes us once a second only', async () => {
  frontEnd.close();
  round();
  const refusedBefore = counters.get(0, 'refusedConnections');
  const refused = () => counters.get(0, 'refusedConnections') - refusedBefore;
  const accept = vi.spyOn(native, 'unixAccept').mockReturnValue(-24); // EMFILE
  const fd = native.unixConnect(path);
  try {
    for (let rounds = 0; rounds < 20; rounds++) round();
    expect(refused()).toBe(1);
    pass(1000);
    for (let rounds = 0; rounds < 20; rounds++) round();
    expect(refused()).toBe(2);
  } finally {
    accept.mockRestore();
  }
  const connects = counters.get(0, 'connects');
  pass(1000);
  round();
  native.closeDescriptor(fd);
  expect(counters.get(0, 'connects')).toBe(connects + 1);
  for (let rounds = 0; rounds < 2; rounds++) round();
});

test('a front-end that does the same again and again has a line for the first times, and how often it was besides', async () => {
  frontEnd.close();
  round();
  pass(60_000);
  logged = [];
  for (let count = 0; count < 15; count++) {
    native.closeDescriptor(native.unixConnect(path));
    for (let rounds = 0; rounds < 2; rounds++) round();
  }
  expect(logged).toHaveLength(20);
  logged = [];
  pass(60_000);
  expect(logged).toEqual(['10 log lines of this VM were suppressed']);
});

test('telling a front-end that its ring broke is paid for like its requests', () => {
  const [control] = base.portControls;
  const ring = new Ring(1);
  ring.errFd = native.eventfd();
  const long = vi.spyOn(native, 'signal').mockImplementation(() => {
    native.readWorked();
    const begin = native.worked[0];
    while (native.worked[0] - begin < 110) native.readWorked();
    return true;
  });
  try {
    pass(10_000);
    expect(control.allowance.spend(now, 0)).toBe(0);
    control.ringBroke(ring);
    expect(long).toHaveBeenCalledWith(ring.errFd);
    expect(control.allowance.spend(now, 0)).toBeGreaterThan(0);
  } finally {
    long.mockRestore();
    native.closeDescriptor(ring.errFd);
    pass(10_000);
  }
});

/** An answer to what was asked has come. */
function isAnswered(): boolean {
  frontEnd.poll();
  return frontEnd.take() !== null;
}

/** The VM's front-ends have used up all that they may, and more: who asks next waits a second. */
function useUp(): void {
  base.portControls[0].allowance.spend(now, 5000);
}

/** The front-end sends a request with descriptors that take long to close. */
async function sendLingering(lingering: Lingering): Promise<void> {
  const descriptors = lingering.take();
  const message = encodeMessage(REQUEST.SET_VRING_ENABLE, vringState(1, 1));
  await frontEnd.sendBytes(message, descriptors);
  for (const each of descriptors) native.closeDescriptor(each);
}

test('whose descriptors take long to close waits no shorter for its allowance', async () => {
  useUp();
  const lingering = await Lingering.start(70);
  try {
    await sendLingering(lingering);
    round();
  } finally {
    await lingering.release();
  }
  await until('them to be closed', () => native.closing(0) === 0);
  expect(frontEnd.closed).toBe(false);
  await say(REQUEST.GET_FEATURES, Buffer.alloc(0));
  for (let milliseconds = 0; milliseconds < 900; milliseconds += 20) pass(20);
  expect(isAnswered()).toBe(false);
  for (let milliseconds = 0; milliseconds < 200; milliseconds += 20) pass(20);
  expect(isAnswered()).toBe(true);
  pass(30_000);
});

test('whose descriptors take long to close is not served meanwhile, whatever it has sent behind them', async () => {
  const lingering = await Lingering.start(70);
  try {
    await sendLingering(lingering);
    for (let count = 0; count < 3; count++) await say(REQUEST.GET_FEATURES, Buffer.alloc(0));
    pass(1000);
    expect(isAnswered()).toBe(false);
  } finally {
    await lingering.release();
  }
  await until('them to be closed', () => native.closing(0) === 0);
  pass(1000);
  round();
  expect(isAnswered()).toBe(true);
});

test('the rest of a message that came while its front-end was kept waiting came in time', async () => {
  await say(REQUEST.SET_VRING_ENABLE, vringState(1, 1));
  useUp();
  const message = encodeMessage(REQUEST.GET_FEATURES);
  await frontEnd.sendBytes(message.subarray(0, 5));
  round();
  await frontEnd.sendBytes(message.subarray(5));
  pass(3000); // we stood still
  expect(isAnswered()).toBe(true);
  expect(frontEnd.closed).toBe(false);
  pass(30_000);
});

/** Asks for so much without reading that answers have to wait, and reads then. `asksLast`: before the last request. */
async function readLate(asksLast = () => {}): Promise<void> {
  const requests = 800;
  for (let left = requests; left > 0; left--) {
    if (left === 1) asksLast();
    await say(REQUEST.GET_FEATURES, Buffer.alloc(0));
    now += 1;
  }
  let answers = 0;
  const read = () => {
    frontEnd.poll();
    while (frontEnd.take() !== null) answers++;
  };
  read();
  expect(answers, 'the others wait').toBeLessThan(requests);
  for (let seconds = 0; seconds < 5; seconds++) {
    pass(1000);
    read();
  }
  expect(answers).toBe(requests);
}

test('a front-end that reads its answers late has them all, and wakes nobody afterwards', async () => {
  await readLate();
  expect(base.watcher.wait(0)).toBe(0);
});

test('so has one that was kept waiting meanwhile', async () => {
  await readLate(useUp);
  expect(base.watcher.wait(0)).toBe(0);
  pass(30_000);
});

test('signals that take long are paid for out of an allowance of their own, and who can’t pay again and again is closed', async () => {
  await say(REQUEST.SET_VRING_NUM, vringState(1, 256));
  const [control] = base.portControls;
  const rings = [0, 1].map((index) => control.port.current!.ring(index)!);
  const before = counters.get(0, 'costlySignals');
  const closed = () => counters.get(0, 'costlySignals') - before;
  const pay = (...milliseconds: number[]) =>
    control.payForSignals(
      milliseconds.map((each, index) => ({ ring: rings[index]!, milliseconds: each })),
    );
  useUp(); // that for requests
  // Those that an interrupt or the hypervisor makes slow: half a millisecond each, a hundred in a second.
  for (let seconds = 0; seconds < 60; seconds++) {
    for (let count = 0; count < 100; count++) pay(0.5);
    now += 1000;
  }
  // Less in a turn is no matter, and what others' take never is.
  for (let count = 0; count < 1000; count++) pay(0.2);
  for (let count = 0; count < 10; count++)
    control.payForSignals([{ ring: new Ring(1), milliseconds: 50 }]);
  expect(closed()).toBe(0);
  // Of several rings together it is a matter.
  for (let count = 0; count < 330; count++) pay(0.15, 0.15);
  expect(closed()).toBe(0);
  pay(150); // the hypervisor stopped us
  expect(closed()).toBe(0);
  for (let count = 0; count < 10; count++) pay(0.15, 0.15);
  expect(closed()).toBe(1);
  round();
  frontEnd.poll();
  expect(frontEnd.closed).toBe(true);
  pass(30_000);
});
