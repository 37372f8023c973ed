/**
 * The base dies (SIGKILL) at any moment under load and comes back: the guests' rings go on at used->idx, nothing is used twice, the same
 * features are offered, input buffers are found without a kick. And it ends properly: SIGTERM under load.
 *
 * A packed ring is in no certain state when its device is killed (which is why it is only offered where the configuration asks for it):
 * its driver starts it afresh. After SIGTERM it goes on where it was.
 */
import { existsSync } from 'node:fs';
import { afterEach, describe, expect, test } from 'vitest';
import { Daemon } from '../support/daemon.ts';
import { BOTH_FORMATS, FORMATS } from '../support/formats.ts';
import { parse } from '../support/packets.ts';
import { LONG, seeded } from '../support/random.ts';
import { A, B, udpFrame } from '../support/traffic.ts';
import { pause, until } from '../support/until.ts';
import { Vm } from '../support/vm.ts';

const ROUNDS = LONG ? 100 : 4;

describe.each(FORMATS)('the base restarts: $format', ({ packed }) => {
  let daemon: Daemon | undefined;
  let vms: Vm[] = [];
  afterEach(async () => {
    for (const vm of vms) vm.close();
    vms = [];
    await daemon?.kill();
    daemon = undefined;
  });

  async function start(): Promise<[Vm, Vm]> {
    daemon = await Daemon.start(BOTH_FORMATS);
    for (const name of ['a', 'b']) vms.push(await Vm.start(daemon.socket(name), { packed }));
    return [vms[0], vms[1]];
  }

  /** The same guest on the new daemon, as QEMU restores it: rings from what was given back, or afresh; no kick by the guest. */
  async function reattach(old: Vm, socket: string, afresh = false): Promise<Vm> {
    const vm = await old.reconnect(socket);
    vms[vms.indexOf(old)] = vm;
    await vm.negotiate();
    expect(vm.offered, 'the same features').toBe(old.offered);
    if (afresh) {
      for (const queue of vm.queues) queue.reset();
      vm.fillReceive(0, false);
    }
    await vm.applyFeatures();
    await vm.shareMemory();
    for (const index of [0, 1]) {
      await vm.enable(index, true);
      await vm.startRing(index, vm.queues[index].usedBase);
    }
    return vm;
  }

  test('killed at random instants under load', {
    timeout: LONG ? 1_200_000 : 120_000,
  }, async () => {
    const random = seeded();
    let [a, b] = await start();
    let sent = 0;
    let last = -1;
    const seen = new Map<number, number>();
    const take = () => {
      b.pollReceived(); // throws when an id is used twice or out of turn
      for (const { frame } of b.received.splice(0)) {
        const got = parse(frame);
        expect(got.problems).toEqual([]);
        const number = got.udp!.payload.readUInt32BE();
        seen.set(number, (seen.get(number) ?? 0) + 1);
        last = number;
      }
    };
    const send = () => {
      const payload = Buffer.alloc(100);
      payload.writeUInt32BE(sent);
      if (a.trySend(udpFrame(A, B.ip, payload))) sent++;
    };
    for (let round = 0; round < ROUNDS; round++) {
      const target = sent + random.between(50, 400);
      while (sent < target) {
        send();
        if (sent % 8 === 0) await pause();
        take();
      }
      await daemon!.die();
      take();
      for (const name of ['a', 'b']) expect(existsSync(daemon!.socket(name)), 'stale').toBe(true);
      await daemon!.restart(); // takes its own stale sockets over at once
      a = await reattach(a, daemon!.socket('a'), packed);
      b = await reattach(b, daemon!.socket('b'), packed);
      const resumed = sent;
      send();
      await until('traffic to go on', () => {
        take();
        if (last < resumed) send();
        return last >= resumed;
      });
    }
    await a.untilSent();
    const twice = [...seen.values()].filter((count) => count > 1).length;
    const lost = sent - seen.size;
    // at most what was in flight when it died, each time
    expect(twice, 'delivered twice').toBeLessThanOrEqual(ROUNDS * 256);
    expect(lost, 'lost').toBeLessThanOrEqual(ROUNDS * 512);
    expect(seen.size).toBeGreaterThan(ROUNDS * 50);
  });

  test('SIGTERM under load, and a new process: rings go on where they were, nothing is lost or delivered twice', async () => {
    let [a, b] = await start();
    let sent = 0;
    const seen: number[] = [];
    const step = () => {
      const payload = Buffer.alloc(100);
      payload.writeUInt32BE(sent);
      if (a.trySend(udpFrame(A, B.ip, payload))) sent++;
      b.pollReceived();
      for (const { frame } of b.received.splice(0)) {
        seen.push(parse(frame).udp!.payload.readUInt32BE());
      }
    };
    for (let round = 0; round < 2; round++) {
      const target = sent + 300;
      while (sent < target) {
        step();
        if (sent % 8 === 0) await pause();
      }
      process.kill(daemon!.pid, 'SIGTERM');
      await until('its end', () => {
        step();
        return !daemon!.running;
      });
      expect(daemon!.exit?.code).toBe(0);
      await daemon!.restart();
      // the receiver first: what waits in the sender's ring would find nobody
      b = await reattach(b, daemon!.socket('b'));
      a = await reattach(a, daemon!.socket('a'));
      const resumed = sent;
      await until('traffic to go on', () => {
        step();
        return seen.at(-1)! >= resumed;
      });
    }
    await a.untilSent();
    await until('the last', () => {
      b.pollReceived();
      for (const { frame } of b.received.splice(0)) {
        seen.push(parse(frame).udp!.payload.readUInt32BE());
      }
      return seen.at(-1) === sent - 1;
    });
    expect(
      [...seen].sort((x, y) => x - y),
      'in order',
    ).toEqual(seen);
    expect(new Set(seen).size, 'each once').toBe(seen.length);
    expect(seen.length, 'all of them').toBe(sent);
  });

  test('SIGTERM under load: exit 0, everything published, no socket left', async () => {
    const [a, b] = await start();
    let stopping = false;
    const running = (async () => {
      while (!stopping) {
        a.trySend(udpFrame(A, B.ip, Buffer.alloc(500)));
        b.pollReceived();
        b.received.length = 0;
        await pause();
      }
    })();
    await until('traffic', () => a.transmitQueue().usedCount > 100);
    await daemon!.stop();
    stopping = true;
    await running;
    b.pollReceived();
    a.reapTransmitted();
    await a.frontEnd.untilClosed();
    await b.frontEnd.untilClosed();
    const digest = a.memory.digest();
    await pause(20);
    expect(a.memory.digest(), 'nobody writes any more').toBe(digest);
    daemon = undefined;
  });
});
