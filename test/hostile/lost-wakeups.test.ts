/**
 * Ranked case 24: one datagram in flight between drivers that sleep until they are interrupted and kick only when asked, with pauses of
 * every length, so that the base falls asleep at every possible moment. Nothing may ever be left lying.
 */
import { afterAll, afterEach, beforeAll, describe, test } from 'vitest';
import { native } from '../../src/native.ts';
import { BOTH_FORMATS, FORMATS } from '../support/formats.ts';
import { FEATURE } from '../support/protocol.ts';
import { LONG, type Random, seeded } from '../support/random.ts';
import { A, B, type Host, udpFrame } from '../support/traffic.ts';
import { pause } from '../support/until.ts';
import { LINUX_FEATURES, type Vm, type VmOptions } from '../support/vm.ts';
import { World } from '../support/world.ts';

const ROUNDS = LONG ? 200_000 : 1000;
const DEADLINE = 10_000_000; // microseconds

const GUESTS: Record<string, VmOptions> = {
  EVENT_IDX: {},
  'flags only': { features: LINUX_FEATURES & ~FEATURE.EVENT_IDX },
  IN_ORDER: { features: LINUX_FEATURES | FEATURE.IN_ORDER },
  'one input buffer at a time': { receiveBuffers: 1 },
};

let world: World;
beforeAll(async () => {
  world = await World.start(BOTH_FORMATS);
});
afterEach(() => world.release());
afterAll(() => world?.close());

describe.each(FORMATS)('no wake-up is lost: $format', ({ packed }) => {
  /** Sleeps on the call descriptor as a guest sleeps on its interrupt: looks at the ring only before sleeping and after waking. */
  function sleepUntilReceived(vm: Vm, what: string): void {
    const queue = vm.receiveQueue();
    const waiter = native.createWaiter(1);
    waiter.add(queue.callDescriptor, 0, 1, false);
    try {
      while (vm.pollReceived() === 0) {
        if (waiter.wait(DEADLINE) === 0) {
          const lies = vm.pollReceived() > 0 ? 'arrived without an interrupt' : 'did not arrive';
          throw new Error(`${what} ${lies}; used ${queue.usedCount}, taken ${queue.taken}`);
        }
        queue.interrupts();
      }
    } finally {
      waiter.remove(queue.callDescriptor);
      waiter.close();
    }
    vm.received.length = 0;
  }

  function spin(random: Random): void {
    // mostly around the length of the base's own spinning, sometimes much longer
    const microseconds = random.chance(0.05) ? random.below(3000) : random.below(150);
    const end = performance.now() + microseconds / 1000;
    while (performance.now() < end);
  }

  for (const [name, options] of Object.entries(GUESTS)) {
    test(`ping-pong: ${name}`, { timeout: LONG ? 600_000 : 60_000 }, async () => {
      const random = seeded();
      const a = await world.vm('a', { ...options, packed });
      const b = await world.vm('b', { ...options, packed });
      const shot = (from: Host, to: Host) => udpFrame(from, to.ip, Buffer.from('ping'));
      const there = shot(A, B);
      const back = shot(B, A);
      for (let round = 0; round < ROUNDS; round++) {
        if (!a.trySend(there)) throw new Error('no room to send');
        sleepUntilReceived(b, `${round} to b`);
        spin(random);
        if (!b.trySend(back)) throw new Error('no room to send');
        sleepUntilReceived(a, `${round} to a`);
        spin(random);
        if (round % 200 === 0) await pause();
      }
      await world.balance();
    });
  }
});
