/**
 * Where datagrams come often and no processor core is idle, the base waits their notifications out together; where it must not rest, a VM
 * notifies it of each datagram. `spin` is 0 here: it never looks on.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { cpus } from 'node:os';
import { afterAll, afterEach, beforeAll, describe, test } from 'vitest';
import { BOTH_FORMATS, FORMATS } from '../support/formats.ts';
import { A, B, udpFrame } from '../support/traffic.ts';
import { pause, until } from '../support/until.ts';
import type { Vm } from '../support/vm.ts';
import { World } from '../support/world.ts';

/** Milliseconds between two pairs of datagrams. */
const GAP = 0.1;
const PAIRS = 250;
/** So many have to be as expected. */
const ROUNDS = 5;
/** Milliseconds: other tests may want the cores, too. */
const PATIENCE = 45_000;

let busy: ChildProcess[];
beforeAll(() => {
  // One for each core, giving way to everybody: no core is idle, and nobody else gets less of it.
  busy = cpus().map(() =>
    spawn('nice', ['-n', '19', process.execPath, '-e', 'for (;;);'], { stdio: 'ignore' }),
  );
});
afterAll(() => {
  for (const child of busy) child.kill('SIGKILL');
});

/** Sends PAIRS of datagrams, one by one; how often the base was notified, as a share. */
function notified(a: Vm, b: Vm): number {
  const frame = udpFrame(A, B.ip, Buffer.alloc(100));
  const queue = a.transmitQueue();
  const before = queue.kicks;
  for (let sent = 0; sent < PAIRS; sent++) {
    a.trySend(frame, { publish: false });
    a.trySend(frame);
    b.pollReceived();
    b.received.length = 0;
    for (const end = performance.now() + GAP; performance.now() < end; );
  }
  return (queue.kicks - before) / PAIRS;
}

/** Resolves behind ROUNDS that are as wanted: in a row, or in all. */
async function rounds(
  what: string,
  a: Vm,
  b: Vm,
  wanted: (share: number) => boolean,
  { inARow }: { inARow: boolean },
) {
  let count = 0;
  const look = async () => {
    await pause(); // for the front-ends' sockets
    if (wanted(notified(a, b))) count++;
    else if (inARow) count = 0;
    return count === ROUNDS;
  };
  await until(what, look, PATIENCE);
}

/** In all: where other tests take cores away by turns the base finds now and then that less is delivered, and goes on without for a while. */
const untilItRests = (what: string, a: Vm, b: Vm) =>
  rounds(what, a, b, (share) => share < 0.1, { inARow: false });

describe.each([500, 0])('rest: %d', (rest) => {
  let world: World;
  beforeAll(async () => {
    world = await World.start({ ...BOTH_FORMATS, datapath: { spin: 0, rest } });
  });
  afterEach(() => world.release());
  afterAll(() => world?.close());

  test.each(FORMATS)('$format', async ({ packed }) => {
    const a = await world.vm('a', { packed });
    const b = await world.vm('b', { packed });
    if (rest > 0) await untilItRests('rests', a, b);
    else await rounds('a notification each', a, b, (share) => share > 0.5, { inARow: true });
    await a.untilSent();
    await world.balance();
  });

  if (rest === 0) return;

  test.each(FORMATS)(
    '$format: VMs that go meanwhile, and come again',
    async ({ packed }) => {
      const a = await world.vm('a', { packed });
      const before = await world.vm('b', { packed });
      await untilItRests('rests', a, before);
      before.close();
      for (let sent = 0; sent < 50; sent++) a.trySend(udpFrame(A, B.ip, Buffer.alloc(100)));
      await world.daemon.untilState('b', 'waiting');
      await a.untilSent();
      const b = await world.vm('b', { packed });
      await untilItRests('rests again', a, b);
      // The sender, too, in the middle.
      notified(a, b);
      a.close();
      const again = await world.vm('a', { packed });
      await untilItRests('rests once more', again, b);
      await again.untilSent();
      await world.balance();
    },
    4 * PATIENCE,
  );
});
