/** Several queue pairs (MQ): each transmits, answers come where was asked, a flow stays in order and flows are spread, pairs are enabled and disabled at run time. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { BOTH_FORMATS, FORMATS } from '../support/formats.ts';
import { parse } from '../support/packets.ts';
import { FEATURE } from '../support/protocol.ts';
import { A, B, echoFrame, ipFrame, udpFrame } from '../support/traffic.ts';
import { LINUX_FEATURES } from '../support/vm.ts';
import { World } from '../support/world.ts';

const IP_IN_IP = 4;
const MQ = {
  features: LINUX_FEATURES | FEATURE.MQ,
  pairs: 4,
  queueSize: 128,
  memory: { regions: [{ guestAddress: 0, bytes: 24 << 20 }] },
};

let world: World;
beforeAll(async () => {
  world = await World.start(BOTH_FORMATS);
});
afterEach(() => world.release());
afterAll(() => world?.close());

describe.each(FORMATS)('queue pairs: $format', ({ packed }) => {
  test('every pair transmits', async () => {
    const a = await world.vm('a', { ...MQ, packed });
    const b = await world.vm('b', { packed });
    for (let i = 0; i < 40; i++) {
      await a.send(udpFrame(A, B.ip, Buffer.from(`${i}`)), { pair: i % 4 });
      expect(parse((await b.receive()).frame).udp?.payload.toString()).toBe(`${i}`);
    }
    await world.balance();
  });

  test('a flow stays in order on its way to several pairs, and none is lost', async () => {
    const a = await world.vm('a', { packed });
    const b = await world.vm('b', { ...MQ, packed });
    const flows = 16;
    const next = new Map<number, number>();
    const pairOf = new Map<number, number>();
    for (let i = 0; i < 800; i++) {
      const port = 6000 + (i % flows);
      const payload = Buffer.alloc(4);
      payload.writeUInt32BE(Math.floor(i / flows));
      await a.send(udpFrame(A, B.ip, payload, { ports: [4000, port] }), { publish: i % 5 === 4 });
      b.pollReceived();
    }
    a.transmitQueue().publish();
    for (let i = 0; i < 800; i++) {
      const { frame, pair } = await b.receive();
      const { udp } = parse(frame);
      const port = udp!.destinationPort;
      expect(udp!.payload.readUInt32BE()).toBe(next.get(port) ?? 0);
      next.set(port, (next.get(port) ?? 0) + 1);
      if (pairOf.has(port)) expect(pair).toBe(pairOf.get(port));
      pairOf.set(port, pair);
    }
    await world.balance();
  });

  test('a disabled pair receives nothing, the others do', async () => {
    const a = await world.vm('a', { packed });
    const b = await world.vm('b', { ...MQ, packed });
    for (const index of [2, 3, 4, 5, 6, 7]) await b.enable(index, false);
    for (let i = 0; i < 64; i++) {
      await a.send(udpFrame(A, B.ip, Buffer.from(`${i}`), { ports: [4000, 6000 + i] }));
      const got = await b.receive();
      expect(got.pair).toBe(0);
    }
    for (const index of [2, 3, 4, 5, 6, 7]) await b.enable(index, true);
    for (let i = 0; i < 64; i++) {
      await a.send(udpFrame(A, B.ip, Buffer.from(`${i}`), { ports: [4000, 6000 + i] }));
      await b.receive();
    }
    await world.balance();
  });

  test('an answer comes on the pair that the VM asked on', async () => {
    const a = await world.vm('a', { packed });
    const b = await world.vm('b', { ...MQ, packed });
    for (let port = 0; port < 32; port++) {
      const pair = (port * 7) % MQ.pairs;
      const question = udpFrame(B, A.ip, Buffer.from('?'), { ports: [6000 + port, 53] });
      await b.send(question, { pair });
      await a.receive();
      await a.send(udpFrame(A, B.ip, Buffer.from('!'), { ports: [53, 6000 + port] }));
      expect([port, (await b.receive()).pair]).toEqual([port, pair]);
    }
    await world.balance();
  });

  describe('one pair has no buffers', () => {
    const PAIRS = 2;
    /** A port of b's service whose answers come on this pair. */
    const service = (pair: number) => 1000 + pair;

    /** b, whose input ring of pair 0 is empty and whose other one is not; it has spoken on both. */
    async function start() {
      const a = await world.vm('a', { packed });
      const b = await world.vm('b', { ...MQ, pairs: PAIRS, packed, receiveBuffers: 0 });
      (b.options as { receiveBuffers: number }).receiveBuffers = 100;
      b.fillReceive(1);
      for (let pair = 0; pair < PAIRS; pair++) {
        await b.send(udpFrame(B, A.ip, Buffer.from('here'), { ports: [service(pair), 9] }), {
          pair,
        });
        await a.receive();
      }
      const send = (pair: number, number: number) =>
        a.send(udpFrame(A, B.ip, Buffer.from(`${number}`), { ports: [9, service(pair)] }));
      const next = async () => {
        const { frame, pair } = await b.receive();
        return { pair, number: Number(parse(frame).udp!.payload.toString()) };
      };
      return { a, b, send, next };
    }

    test('what waits for it holds up no other, and comes in order when it has some', async () => {
      const { b, send, next } = await start();
      const waiting = 40;
      // More than a backlog holds, one by one.
      for (let number = 0; number < 800; number++) {
        if (number < waiting) await send(0, number);
        await send(1, number);
        expect(await next()).toEqual({ pair: 1, number });
      }
      expect(b.receiveQueue(0).usedCount).toBe(0);
      b.fillReceive(0);
      for (let number = 0; number < waiting; number++)
        expect(await next()).toEqual({ pair: 0, number });
      await world.balance();
    });

    test('it is switched off: what waits for it comes on the other', async () => {
      const { b, send, next } = await start();
      const count = 40;
      for (let number = 0; number < count; number++) await send(0, number);
      await send(1, count);
      expect((await next()).number).toBe(count);
      await b.enable(0, false);
      for (let number = 0; number < count; number++)
        expect(await next()).toEqual({ pair: 1, number });
      await world.balance();
    });
  });

  /** How many of 64 datagrams came to each pair. */
  async function spread(frame: (number: number) => Buffer): Promise<number[]> {
    const a = await world.vm('a', { packed });
    const b = await world.vm('b', { ...MQ, packed });
    const pairs = new Array<number>(MQ.pairs).fill(0);
    for (let i = 0; i < 64; i++) {
      await a.send(frame(i));
      pairs[(await b.receive()).pair]++;
    }
    return pairs;
  }
  const used = (pairs: number[]) => pairs.filter((count) => count > 0).length;

  // What has no ports is one flow, whatever stands where ports would be.
  test.each<[string, (i: number) => Buffer]>([
    [
      'IP in IP, of datagrams of any length',
      (i) => ipFrame(A, B.ip, IP_IN_IP, udpFrame(A, B.ip, Buffer.alloc(20 * i)).subarray(14)),
    ],
    ['one ping', (i) => echoFrame(A, B.ip, 100 * i)],
  ])('%s: stays on one pair', async (_, frame) => {
    const pairs = await spread(frame);
    expect(used(pairs), `${pairs}`).toBe(1);
  });

  test('flows from one service to as many ports in a row are spread over all pairs', async () => {
    const reply = Buffer.from('reply');
    const pairs = await spread((i) => udpFrame(A, B.ip, reply, { ports: [53, 40_960 + i] }));
    expect(used(pairs), `${pairs}`).toBe(MQ.pairs);
  });
});
