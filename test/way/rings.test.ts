/** The life of rings: stopped and started, enabled and disabled, reconnected, found without a kick (vhost-user "ring states"). */
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { native } from '../../src/native.ts';
import { BASE_IP } from '../support/daemon.ts';
import { BOTH_FORMATS, FORMATS } from '../support/formats.ts';
import { parse } from '../support/packets.ts';
import { FEATURE, REQUEST, u64 } from '../support/protocol.ts';
import { A, B, C, udpFrame } from '../support/traffic.ts';
import { pause, until } from '../support/until.ts';
import { LINUX_FEATURES, type Vm } from '../support/vm.ts';
import { World } from '../support/world.ts';

const numbered = (number: number) => udpFrame(A, B.ip, Buffer.from(`number ${number}`));
const numberOf = (frame: Buffer) =>
  Number(/^number (\d+)$/.exec(parse(frame).udp!.payload.toString())![1]);

let world: World;
beforeAll(async () => {
  world = await World.start(BOTH_FORMATS);
});
afterEach(() => world.release());
afterAll(() => world?.close());

describe.each(FORMATS)('rings: $format', ({ packed }) => {
  let a: Vm;
  let b: Vm;

  async function start(): Promise<void> {
    a = await world.vm('a', { packed });
    b = await world.vm('b', { packed });
  }

  /** The driver ends, and another one begins, with features of its own. */
  async function reboot(features: bigint): Promise<void> {
    await a.stopRing(0);
    await a.stopRing(1);
    a.features = features;
    if (a.has(FEATURE.RING_PACKED) === (a.queues[0].format === 'packed')) {
      for (const queue of a.queues) queue.reset();
    } else {
      for (const queue of a.queues.splice(0)) queue.close();
      a.createQueues();
    }
    await a.applyFeatures();
    a.fillReceive();
    await a.startRing(0);
    await a.startRing(1);
  }

  async function pass(number: number): Promise<void> {
    await a.send(numbered(number));
    expect(numberOf((await b.receive()).frame)).toBe(number);
  }

  test('a ring without a kick is polled', async () => {
    await start();
    await pass(0);
    const noDescriptor = 0x100n;
    const payload = u64(1n | noDescriptor);
    expect(await a.frontEnd.askNumber(REQUEST.SET_VRING_KICK, payload, { needReply: true })).toBe(
      0n,
    );
    for (let i = 1; i < 5; i++) {
      await pause(20); // the base has gone to sleep, or not: both must do
      await pass(i);
    }
  });

  test('a full input ring without a kick is polled while datagrams wait for it', async () => {
    const before = await world.daemon.count('a', 'waiting');
    a = await world.vm('a', { packed });
    b = await world.vm('b', { packed, receiveBuffers: 4 });
    const payload = u64(0n | 0x100n);
    await b.frontEnd.askNumber(REQUEST.SET_VRING_KICK, payload, { needReply: true });
    for (let i = 0; i < 10; i++) await a.send(numbered(i));
    await world.daemon.untilCount('a', 'waiting', before + 6);
    await pause(100); // the base looks at the VM no longer
    b.fillReceive();
    for (let i = 0; i < 10; i++) expect(numberOf((await b.receive()).frame)).toBe(i);
  });

  test('and looked at soon, whenever datagrams begin to wait', async () => {
    a = await world.vm('a', { packed });
    b = await world.vm('b', { packed, receiveBuffers: 1 });
    await b.frontEnd.askNumber(REQUEST.SET_VRING_KICK, u64(0n | 0x100n), { needReply: true });
    const rounds = 8;
    let late = 0;
    for (let i = 0; i < 2 * rounds; i += 2) {
      await pause(100); // the base has gone to sleep
      for (const number of [i, i + 1]) await a.send(numbered(number));
      await pause(5);
      const since = performance.now();
      for (const number of [i, i + 1]) expect(numberOf((await b.receive()).frame)).toBe(number);
      late += performance.now() - since;
    }
    expect(late / rounds, 'milliseconds').toBeLessThan(60);
    await world.balance();
  });

  test.each([true, false])('EVENT_IDX comes or goes while it sleeps: %s', async (comes) => {
    const without = LINUX_FEATURES & ~FEATURE.EVENT_IDX;
    const before = comes ? without : LINUX_FEATURES;
    a = await world.vm('a', { packed, features: before });
    b = await world.vm('b', { packed });
    await pass(0);
    await pause(100); // the base has gone to sleep
    const features = (a.features ^ FEATURE.EVENT_IDX) | FEATURE.PROTOCOL_FEATURES;
    await a.frontEnd.askNumber(REQUEST.SET_FEATURES, u64(features), { needReply: true });
    Object.defineProperty(a.transmitQueue(), 'eventIndex', { get: () => comes });
    for (let i = 1; i < 4; i++) {
      await pause(100);
      await pass(i);
    }
  });

  test('an input ring with room asks for no kicks: a driver without EVENT_IDX refills it in silence', async () => {
    const features = LINUX_FEATURES & ~FEATURE.EVENT_IDX;
    a = await world.vm('a', { packed, features });
    b = await world.vm('b', { packed, features });
    await pass(0);
    const input = b.receiveQueue();
    const before = input.kicks;
    for (let i = 1; i <= 300; i++) {
      await pass(i); // whose buffer is offered again
      b.fillReceive();
    }
    expect(input.kicks - before, 'refills that kicked').toBe(0);
  });

  test('GET_VRING_BASE answers with the next available entry, and the ring goes on from there', async () => {
    await start();
    for (let round = 0; round < 20; round++) {
      for (let i = 0; i < 7; i++) await pass(round * 7 + i);
      const base = await a.stopRing(1);
      expect(a.transmitQueue().next).toBe(7 * (round + 1));
      expect(base).toBe(a.transmitQueue().nextBase);
      expect(await a.stopRing(1), 'asked twice').toBe(base);
      await a.startRing(1, base);
    }
  });

  test('a stopped ring is left alone: nothing read, nothing written, nobody signalled', async () => {
    await start();
    await pass(1);
    const transmit = a.transmitQueue();
    const base = await a.stopRing(1);
    transmit.interrupts();
    a.trySend(numbered(2));
    transmit.kick();
    const receiveBase = await a.stopRing(0);
    const before = a.memory.digest();
    await b.send(udpFrame(B, A.ip, Buffer.from('to a stopped ring')));
    await b.untilSent();
    expect(a.memory.digest()).toBe(before);
    expect(transmit.interrupts()).toBe(0);
    expect(a.receiveQueue().usedBase).toBe(receiveBase);
    await a.startRing(0, receiveBase);
    await a.startRing(1, base);
    expect(numberOf((await b.receive()).frame)).toBe(2);
    await world.balance();
  });

  test('restarted at 0 after a guest reboot', async () => {
    await start();
    for (let i = 0; i < 5; i++) await pass(i);
    await reboot(a.features);
    for (let i = 0; i < 5; i++) await pass(i);
    await b.send(udpFrame(B, A.ip, Buffer.from('back')));
    expect(parse((await a.receive()).frame).udp?.payload.toString()).toBe('back');
  });

  test('a guest reboots into a driver that has fewer buffers out: each is filled once', async () => {
    const before = await world.daemon.count('b', 'waiting');
    await start();
    await b.send(udpFrame(B, A.ip, Buffer.from('the others are known to be there')));
    await a.receive();
    a.options.receiveBuffers = 1;
    await reboot(a.features);
    for (let i = 0; i < 3; i++) await b.send(udpFrame(B, A.ip, Buffer.from(`number ${i}`)));
    await world.daemon.untilCount('b', 'waiting', before + 2);
    for (let i = 0; i < 3; i++) {
      expect(numberOf((await a.receive()).frame)).toBe(i);
      a.fillReceive();
    }
  });

  test('a guest reboots into a driver with larger buffers: those of before say nothing about them', async () => {
    const features = LINUX_FEATURES & ~FEATURE.MRG_RXBUF;
    a = await world.vm('a', { packed, features, receiveBuffers: 0 });
    b = await world.vm('b', { packed });
    const before = await world.daemon.count('b', 'inputTooSmall');
    a.receiveQueue().add([{ room: 200 }]);
    a.receiveQueue().publish();
    await b.send(udpFrame(B, A.ip, Buffer.alloc(1000)));
    await world.daemon.untilCount('b', 'inputTooSmall', before + 1);
    await reboot(a.features);
    a.receiveQueue().add([{ room: 12 }, { room: 1500 }]);
    a.receiveQueue().publish();
    await b.send(udpFrame(B, A.ip, Buffer.alloc(1000)));
    expect(parse((await a.receive()).frame).udp?.payload).toHaveLength(1000);
  });

  // A packed ring needs VERSION_1, whose header is always as long.
  if (!packed) {
    test('a guest reboots into a driver with other features: the header changes its size', async () => {
      a = await world.vm('a', { features: FEATURE.EVENT_IDX });
      b = await world.vm('b');
      expect(a.headerBytes).toBe(10);
      await pass(1);
      await reboot((LINUX_FEATURES & a.offered) | FEATURE.PROTOCOL_FEATURES);
      expect(a.headerBytes).toBe(12);
      await pass(2);
    });
  }

  test('a guest reboots into a driver with rings of the other format, and back', async () => {
    await start();
    const features = [a.features ^ FEATURE.RING_PACKED, a.features];
    for (let i = 0; i < 6; i++) {
      for (let k = 0; k < 5; k++) await pass(10 * i + k);
      await a.untilSent();
      await reboot(features[i % 2]);
    }
  });

  test('RESET_DEVICE stops everything, and the device starts again', async () => {
    await start();
    await pass(1);
    await a.stopRing(0);
    await a.stopRing(1);
    expect(await a.frontEnd.order(REQUEST.RESET_DEVICE)).toBe(0n);
    for (const queue of a.queues) queue.reset();
    for (const [index, { nextBase }] of a.queues.entries())
      expect(await a.frontEnd.getVringBase(index)).toBe(nextBase);
    await a.applyFeatures();
    // with memory slots QEMU does not send the regions again after a reset
    a.fillReceive();
    for (const index of [0, 1]) {
      await a.enable(index, true);
      await a.startRing(index);
    }
    await pass(2);
  });

  test('a disabled transmit ring is drained and discarded, and works when enabled again', async () => {
    await start();
    await pass(1);
    await a.enable(1, false);
    const before = await world.daemon.count('a', 'ringDisabled');
    for (let i = 0; i < 10; i++) await a.send(numbered(100 + i));
    await a.untilSent();
    await world.daemon.untilCount('a', 'ringDisabled', before + 10);
    await a.enable(1, true);
    await pass(2);
    await world.balance();
  });

  test('a disabled receive ring gets nothing, and works when enabled again', async () => {
    await start();
    await pass(1);
    await b.enable(0, false);
    const index = b.receiveQueue().usedCount;
    for (let i = 0; i < 10; i++) await a.send(numbered(100 + i));
    await a.untilSent();
    await until('drops', async () => {
      const { drops } = await world.daemon.vm('a');
      return drops.receiverNotRunning + drops.ringDisabled + drops.inputFull >= 10;
    });
    expect(b.receiveQueue().usedCount).toBe(index);
    await b.enable(0, true);
    await pass(2);
    await world.balance();
  });

  test('without bit 30 in SET_FEATURES all rings are enabled', async () => {
    b = await world.vm('b', { packed });
    a = await world.connected('a', { packed });
    await a.negotiate();
    a.features &= ~FEATURE.PROTOCOL_FEATURES;
    a.createQueues();
    await a.applyFeatures();
    await a.shareMemory();
    a.fillReceive();
    await a.startRing(0);
    await a.startRing(1);
    await pass(1);
    await b.send(udpFrame(B, A.ip, Buffer.from('back')));
    expect(parse((await a.receive()).frame).udp?.payload.toString()).toBe('back');
  });

  test('input buffers are found without a kick', async () => {
    a = await world.vm('a', { packed });
    b = await world.connected('b', { packed });
    await b.negotiate();
    b.createQueues();
    await b.applyFeatures();
    await b.shareMemory();
    b.fillReceive(0, false);
    for (const index of [0, 1]) {
      await b.startRing(index);
      await b.enable(index, true);
    }
    expect(b.receiveQueue().kicks).toBe(0);
    await pass(1);
  });

  test('a datagram that waits in the ring before it is started goes out without a kick', async () => {
    b = await world.vm('b', { packed });
    a = await world.connected('a', { packed });
    await a.negotiate();
    a.createQueues();
    await a.applyFeatures();
    await a.shareMemory();
    a.trySend(numbered(1), { publish: false });
    a.transmitQueue().publish(false);
    for (const index of [0, 1]) {
      await a.enable(index, true);
      await a.startRing(index);
    }
    expect(numberOf((await b.receive()).frame)).toBe(1);
  });

  test('a kick that came before the ring was enabled is not lost', async () => {
    await start();
    await a.enable(1, false);
    await a.stopRing(1);
    const base = a.transmitQueue().nextBase;
    a.trySend(numbered(1));
    a.transmitQueue().kick();
    await a.enable(1, true);
    await a.startRing(1, base);
    expect(numberOf((await b.receive()).frame)).toBe(1);
  });

  test('the call descriptor is signalled once when it is set', async () => {
    await start();
    const fresh = native.eventfd();
    try {
      await a.frontEnd.setVringDescriptor(REQUEST.SET_VRING_CALL, 0, fresh);
      await until('a signal', () => native.drain(fresh) > 0);
    } finally {
      native.closeDescriptor(fresh);
    }
  });

  test('a call descriptor that comes before its ring is started is signalled once that starts', async () => {
    await start();
    const fresh = native.eventfd();
    try {
      const base = await a.stopRing(0);
      // After each answer what was asked for has taken effect.
      await a.frontEnd.setVringDescriptor(REQUEST.SET_VRING_CALL, 0, fresh);
      expect(native.drain(fresh), 'of a ring that is stopped').toBe(0);
      await a.frontEnd.setVringBase(0, base);
      await a.frontEnd.setVringDescriptor(
        REQUEST.SET_VRING_KICK,
        0,
        a.receiveQueue().kickDescriptor,
      );
      expect(native.drain(fresh), 'a base before this one may have died before it did').toBe(1);
    } finally {
      native.closeDescriptor(fresh);
    }
  });

  test('after a lost connection the rings go on behind what was given back', async () => {
    await start();
    for (let i = 0; i < 5; i++) await pass(i);
    await b.send(udpFrame(B, A.ip, Buffer.from('there')));
    expect(parse((await a.receive()).frame).udp?.payload.toString()).toBe('there');
    await a.untilSent();
    const old = a;
    a.frontEnd.close();
    await world.daemon.untilState('a', 'waiting');
    a = world.adopt(await old.reconnect(world.daemon.socket('a')));
    await a.negotiate();
    expect(a.offered).toBe(old.offered);
    // QEMU drains and drops what the guest sends meanwhile; the guest does not kick again for its input buffers
    await a.applyFeatures();
    await a.shareMemory();
    for (const index of [0, 1]) {
      await a.enable(index, true);
      await a.startRing(index, a.queues[index].usedBase);
    }
    const kicks = a.receiveQueue().kicks;
    await pass(7);
    await b.send(udpFrame(B, A.ip, Buffer.from('back')));
    expect(parse((await a.receive()).frame).udp?.payload.toString()).toBe('back');
    expect(a.receiveQueue().kicks).toBeGreaterThanOrEqual(kicks);
    for (let i = 10; i < 300; i++) await pass(i);

    // Its kernel has forgotten its neighbours with the link: it is told of each, twice, and of its own address never.
    const expected = [BASE_IP, B.ip, C.ip].flatMap((address) => [address, address]).sort();
    await until('what it is told', () => {
      a.pollReceived();
      return a.announcements.length >= expected.length;
    });
    const told = a.announcements.map(({ frame }) => parse(frame).arp?.targetIp);
    expect(told.sort()).toEqual(expected);
    expect(b.announcements).toEqual([]);
  });
});
