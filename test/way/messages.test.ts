/** The vhost-user requests one by one, as QEMU sends them for a net device. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { native } from '../../src/native.ts';
import { FrontEnd } from '../support/frontend.ts';
import { parse } from '../support/packets.ts';
import { FEATURE, PROTOCOL_FEATURE, REQUEST, u64, vringState } from '../support/protocol.ts';
import { A, B, udpFrame } from '../support/traffic.ts';
import { until } from '../support/until.ts';
import { QEMU_PROTOCOL_FEATURES, type Vm } from '../support/vm.ts';
import { World } from '../support/world.ts';

describe('vhost-user messages', () => {
  let world: World;
  const fronts: FrontEnd[] = [];
  beforeAll(async () => {
    world = await World.start();
  });
  afterEach(async () => {
    for (const front of fronts.splice(0)) front.close();
    await world.release();
  });
  afterAll(() => world?.close());

  async function front(): Promise<FrontEnd> {
    await world.daemon.untilState('a', 'waiting');
    const one = await FrontEnd.connect(world.daemon.socket('a'));
    fronts.push(one);
    return one;
  }

  async function works(a: Vm, b: Vm): Promise<void> {
    await a.send(udpFrame(A, B.ip, Buffer.from('works')));
    expect(parse((await b.receive()).frame).udp?.payload.toString()).toBe('works');
  }

  test('the features offered are the contract', async () => {
    const one = await front();
    const { features, protocolFeatures } = await one.negotiate(QEMU_PROTOCOL_FEATURES);
    const wanted =
      FEATURE.VERSION_1 |
      FEATURE.MRG_RXBUF |
      FEATURE.EVENT_IDX |
      FEATURE.INDIRECT_DESC |
      FEATURE.IN_ORDER |
      FEATURE.CSUM |
      FEATURE.GUEST_CSUM |
      FEATURE.HOST_TSO4 |
      FEATURE.HOST_TSO6 |
      FEATURE.HOST_ECN |
      FEATURE.GUEST_TSO4 |
      FEATURE.GUEST_TSO6 |
      FEATURE.GUEST_ECN |
      FEATURE.MTU |
      FEATURE.GUEST_ANNOUNCE |
      FEATURE.MQ |
      FEATURE.LOG_ALL |
      FEATURE.ANY_LAYOUT |
      FEATURE.PROTOCOL_FEATURES;
    expect(features.toString(16)).toBe(wanted.toString(16));
    expect(protocolFeatures.toString(16)).toBe(QEMU_PROTOCOL_FEATURES.toString(16));
  });

  test('GET_PROTOCOL_FEATURES works before anything else', async () => {
    const one = await front();
    expect(await one.getProtocolFeatures()).toBe(QEMU_PROTOCOL_FEATURES);
  });

  test('509 memory slots, 16 queue pairs', async () => {
    const one = await front();
    await one.negotiate(QEMU_PROTOCOL_FEATURES);
    expect(await one.askNumber(REQUEST.GET_MAX_MEM_SLOTS)).toBe(509n);
    expect(await one.askNumber(REQUEST.GET_QUEUE_NUM)).toBe(16n);
  });

  test('what is missing: rings that were named, then memory', async () => {
    const missing = async () => (await world.daemon.vm('a')).missing;
    const one = await front();
    // As QEMU, which leaves upon it when it has more.
    await one.negotiate(QEMU_PROTOCOL_FEATURES);
    await one.askNumber(REQUEST.GET_QUEUE_NUM);
    await until('the number of queue pairs', async () =>
      /16 queue pairs/.test(String(await missing())),
    );
    await one.setVringEnable(0, true);
    await until('the memory', async () => /shared no memory/.test(String(await missing())));
  });

  test('a refusal is logged with its request, the ring and what is wrong', async () => {
    const one = await front();
    await one.negotiate(QEMU_PROTOCOL_FEATURES);
    const { lines } = world.daemon;
    const from = lines.length;
    expect(await one.setVringNumber(1, 257)).not.toBe(0n);
    expect(await one.setVringEnable(3, true)).toBe(0n);
    expect(await one.order(REQUEST.SET_VRING_ENABLE, vringState(3, 2))).not.toBe(0n);
    // A split ring's base is an index of 16 bits; ring 5 goes on where it was told to last.
    expect(await one.setVringBase(5, 0xffff)).toBe(0n);
    expect(await one.setVringBase(5, 0x10000)).not.toBe(0n);
    expect(await one.getVringBase(5)).toBe(0xffff);
    expect(await one.order(REQUEST.SET_VRING_ERR, u64(1n))).not.toBe(0n);
    const logged = (text: string) =>
      until(`a line of the log with: ${text}`, () =>
        lines.slice(from).some((line) => line.includes(text)),
      );
    await logged('SET_VRING_NUM: ring 1: its size 257 is not a power of two within 1..32768');
    await logged('SET_VRING_ENABLE: ring 3: 2 is neither 0 nor 1');
    await logged('SET_VRING_BASE: ring 5: its base 65536 is more than 65535');
    await logged('SET_VRING_ERR: ring 1: a descriptor must come along');
  });

  test("QEMU's whole connect sequence, twice for a second queue pair", async () => {
    const one = await front();
    await one.negotiate(QEMU_PROTOCOL_FEATURES);
    await one.getFeatures();
    const call = native.eventfd();
    try {
      for (const pair of [0, 1]) {
        for (const index of [2 * pair, 2 * pair + 1]) {
          expect(await one.setVringDescriptor(REQUEST.SET_VRING_CALL, index, call)).toBe(0n);
          expect(await one.setVringDescriptor(REQUEST.SET_VRING_ERR, index, call)).toBe(0n);
        }
        expect(await one.getProtocolFeatures()).toBe(QEMU_PROTOCOL_FEATURES);
        await one.setProtocolFeatures(QEMU_PROTOCOL_FEATURES);
        await one.getFeatures();
      }
      for (const [index, enable] of [
        [0, true],
        [1, true],
        [2, false],
        [3, false],
      ] as const) {
        expect(await one.setVringEnable(index, enable)).toBe(0n);
      }
    } finally {
      native.closeDescriptor(call);
    }
  });

  test('without REPLY_ACK nothing is answered that has no answer', async () => {
    const one = await front();
    await one.getFeatures();
    await one.setOwner();
    await one.send(REQUEST.SET_VRING_ENABLE, vringState(0, 1));
    await one.send(REQUEST.SET_VRING_NUM, vringState(0, 256));
    await one.getFeatures(); // answered by the very next reply, or ask() throws
  });

  test('NEED_REPLY before REPLY_ACK was acknowledged is not answered', async () => {
    const one = await front();
    await one.getFeatures();
    await one.getProtocolFeatures(); // offered, but not acknowledged
    await one.send(REQUEST.SET_VRING_ENABLE, vringState(0, 1), { needReply: true });
    await one.getFeatures();
  });

  test('the SET_PROTOCOL_FEATURES that brings REPLY_ACK is acknowledged, where it asks for that', async () => {
    const one = await front();
    const needReply = { needReply: true };
    const features = u64(QEMU_PROTOCOL_FEATURES);
    // Rust-vmm's front-end says so in every header, and waits for this answer.
    await one.askNumber(REQUEST.GET_FEATURES, undefined, needReply);
    await one.askNumber(REQUEST.GET_PROTOCOL_FEATURES, undefined, needReply);
    expect(await one.askNumber(REQUEST.SET_PROTOCOL_FEATURES, features, needReply)).toBe(0n);
    await one.getFeatures(); // answered by the very next reply
  });

  test('an unknown request is refused, the connection goes on', async () => {
    const one = await front();
    await one.negotiate(QEMU_PROTOCOL_FEATURES);
    const before = await world.daemon.count('a', 'unknownMessages');
    for (const request of [45, 99, 0x7fffffff]) {
      expect(await one.order(request, Buffer.alloc(20))).not.toBe(0n);
    }
    await one.send(100, u64(1n)); // and without a wish for a reply
    expect(await one.getFeatures()).toBeGreaterThan(0n);
    await world.daemon.untilCount('a', 'unknownMessages', before + 4);
  });

  test('requests behind protocol features that were not negotiated are refused', async () => {
    const one = await front();
    await one.negotiate(PROTOCOL_FEATURE.REPLY_ACK);
    for (const [request, payload] of [
      [REQUEST.NET_SET_MTU, u64(1500n)],
      [REQUEST.RESET_DEVICE, Buffer.alloc(0)],
      [REQUEST.SEND_RARP, u64(0n)],
    ] as const) {
      expect(await one.order(request, payload), `request ${request}`).not.toBe(0n);
    }
  });

  test('NET_SET_MTU takes 68 to 65535', async () => {
    const one = await front();
    await one.negotiate(QEMU_PROTOCOL_FEATURES);
    for (const [mtu, good] of [
      [1500n, true],
      [68n, true],
      [9000n, true],
      [0n, false],
      [67n, false],
      [65536n, false],
    ] as const) {
      expect((await one.order(REQUEST.NET_SET_MTU, u64(mtu))) === 0n, `MTU ${mtu}`).toBe(good);
    }
  });

  test('SEND_RARP is accepted', async () => {
    const one = await front();
    await one.negotiate(QEMU_PROTOCOL_FEATURES);
    expect(await one.order(REQUEST.SEND_RARP, u64(0x0a0000005452n))).toBe(0n);
  });

  test('RESET_OWNER changes nothing', async () => {
    const a = await world.vm('a');
    const b = await world.vm('b');
    await a.frontEnd.send(REQUEST.RESET_OWNER);
    await a.frontEnd.getFeatures();
    // deprecated: the rings may be disabled by it, never forgotten
    await a.enable(1, true);
    await works(a, b);
  });

  test('SET_MEM_TABLE again while the rings run', async () => {
    const a = await world.vm('a', { protocolFeatures: PROTOCOL_FEATURE.REPLY_ACK });
    const b = await world.vm('b');
    for (let i = 0; i < 10; i++) {
      await works(a, b);
      expect(await a.frontEnd.setMemoryTable(a.memory.regions)).toBe(0n);
    }
    await works(a, b);
  });

  test('a region is added, used, and removed while the rings run', async () => {
    const a = await world.vm('a');
    const b = await world.vm('b');
    for (let round = 0; round < 3; round++) {
      const address = 0x1_4000_0000 + round * 0x100000;
      const region = a.memory.add({ guestAddress: address, bytes: 0x10000 });
      expect(await a.frontEnd.addRegion(region)).toBe(0n);
      const frame = udpFrame(A, B.ip, Buffer.from(`from region ${round}`));
      const queue = a.transmitQueue();
      const bytes = Buffer.concat([Buffer.alloc(12), frame]);
      const chain = queue.add([{ data: Buffer.alloc(bytes.length) }])!;
      a.memory.bytes(address + 64, bytes.length).set(bytes);
      queue.rewrite(chain, 0, { address: address + 64 });
      queue.publish();
      expect(parse((await b.receive()).frame).udp?.payload.toString()).toBe(`from region ${round}`);
      expect(await a.frontEnd.removeRegion(region)).toBe(0n);
      await works(a, b);
    }
  });

  test('the whole life of a connection leaves nothing behind', async () => {
    await world.daemon.untilState('a', 'waiting');
    const descriptors = world.daemon.descriptors().length;
    const mappings = world.daemon.guestMappings().length;
    for (let i = 0; i < 20; i++) {
      const a = await world.vm('a', {
        protocolFeatures: i % 2 === 0 ? PROTOCOL_FEATURE.REPLY_ACK : QEMU_PROTOCOL_FEATURES,
      });
      a.close();
      await world.daemon.untilState('a', 'waiting');
    }
    await world.daemon.untilMappings(mappings);
    // a connection of the status call may still be on its way out
    await until(
      `no more than ${descriptors} descriptors`,
      () => world.daemon.descriptors().length <= descriptors,
    );
  });
});
