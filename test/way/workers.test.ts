/**
 * Two turn workers: a and c are served by the first, b and d by the second. Everything that goes from one VM to another goes as with one
 * worker, and every port's books balance.
 */
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { BASE_IP, BASE_MAC } from '../support/daemon.ts';
import { LAN_ECHO_PORT, LAN_INTERFACE, LAN_IP, Lan, NO_LAN } from '../support/lan.ts';
import { GSO, HDR_FLAG } from '../support/net-header.ts';
import { ETHERTYPE, ethernet, parse } from '../support/packets.ts';
import { FEATURE } from '../support/protocol.ts';
import { seeded } from '../support/random.ts';
import {
  A,
  B,
  C,
  echoFrame,
  forwarded,
  type Host,
  tcpFrame,
  THREE_VMS,
  udpFrame,
} from '../support/traffic.ts';
import { until } from '../support/until.ts';
import { PLAIN_FEATURES, type Vm } from '../support/vm.ts';
import { World } from '../support/world.ts';

const D: Host = { mac: '52:54:00:00:00:0d', ip: '10.77.0.13' };
const FOUR_VMS = { ...THREE_VMS, d: { addresses: [D.ip] } }; // d's MAC is learned
const TWO_WORKERS = { workers: 2 };

let world: World;

/** The text of the next UDP datagram. */
async function text(vm: Vm): Promise<string> {
  return parse((await vm.receive()).frame).udp!.payload.toString();
}

/** Who is served by whom. */
async function workerOf(name: string): Promise<unknown> {
  return (await world.daemon.vm(name)).worker;
}

describe('VM to VM', () => {
  beforeAll(async () => {
    world = await World.start({ vms: FOUR_VMS, datapath: TWO_WORKERS });
  });
  afterEach(() => world.release());
  afterAll(() => world?.close());

  test.each([
    { from: 'a', F: A, to: 'b', T: B },
    { from: 'b', F: B, to: 'a', T: A },
    { from: 'a', F: A, to: 'c', T: C },
    { from: 'b', F: B, to: 'c', T: C },
  ])('from $from to $to and back: the same bytes, in order', async ({ from, F, to, T }) => {
    const random = seeded();
    const [sender, receiver] = [await world.vm(from), await world.vm(to)];
    expect(await workerOf(from)).toBe(from === 'b' ? 1 : 0);
    expect(await workerOf(to)).toBe(to === 'b' ? 1 : 0);
    for (let i = 0; i < 200; i++) {
      const there = udpFrame(F, T.ip, random.bytes(random.between(0, 1472)));
      await sender.send(there);
      expect((await receiver.receive()).frame.equals(forwarded(there, T)), `there, ${i}`).toBe(
        true,
      );
      const back = udpFrame(T, F.ip, random.bytes(random.between(0, 1472)));
      await receiver.send(back);
      expect((await sender.receive()).frame.equals(forwarded(back, F)), `back, ${i}`).toBe(true);
    }
    await world.balance();
  });

  test('many in flight arrive in order, whichever way they go', async () => {
    const [a, b, c] = [await world.vm('a'), await world.vm('b'), await world.vm('c')];
    const flows = [
      { from: a, F: A, to: b, T: B, sent: 0, seen: 0 },
      { from: c, F: C, to: a, T: A, sent: 0, seen: 0 },
      { from: b, F: B, to: c, T: C, sent: 0, seen: 0 },
    ];
    await until(
      '4000 datagrams of each flow',
      () => {
        for (const flow of flows) {
          for (let n = 0; n < 20 && flow.sent < 4000 && flow.sent - flow.seen < 100; n++) {
            const payload = Buffer.alloc(64);
            payload.writeUInt32BE(flow.sent);
            if (!flow.from.trySend(udpFrame(flow.F, flow.T.ip, payload))) break;
            flow.sent++;
          }
          flow.to.pollReceived();
          for (const { frame } of flow.to.received.splice(0))
            expect(parse(frame).udp!.payload.readUInt32BE()).toBe(flow.seen++);
        }
        return flows.every(({ seen }) => seen === 4000);
      },
      30_000,
    );
    await world.balance();
  });

  test('the MAC of a VM of the other worker: broadcast until it has spoken, then its own', async () => {
    const [a, d] = [await world.vm('a'), await world.vm('d')];
    await a.send(udpFrame(A, D.ip, Buffer.from('who are you?')));
    const frames = await until('the datagram and an ARP request', () => {
      d.pollReceived();
      return d.received.length >= 2 ? d.received.splice(0).map(({ frame }) => frame) : null;
    });
    expect(frames.every((frame) => frame.readUIntBE(0, 6) === 0xffffffffffff)).toBe(true);
    await d.send(udpFrame(D, A.ip, Buffer.from('this is my MAC')));
    expect(await text(a)).toBe('this is my MAC');
    const sent = udpFrame(A, D.ip, Buffer.from('I see'));
    await a.send(sent);
    expect((await d.receive()).frame.equals(forwarded(sent, D))).toBe(true);
    await world.balance();
  });

  test('a broadcast comes to every other VM once', async () => {
    const vms = [
      await world.vm('a'),
      await world.vm('b'),
      await world.vm('c'),
      await world.vm('d'),
    ];
    const [a, b, c, d] = vms;
    const before = (await world.daemon.vm('a')).output.datagrams;
    await b.send(udpFrame(B, '10.77.0.255', Buffer.from('everybody')));
    for (const vm of [a, c, d]) {
      const { frame } = await vm.receive();
      expect(frame.readUIntBE(0, 6)).toBe(0xffffffffffff);
      expect(parse(frame).udp!.payload.toString()).toBe('everybody');
    }
    // Nothing else came before this.
    await a.send(udpFrame(A, '10.77.0.255', Buffer.from('again')));
    for (const vm of [b, c, d]) expect(await text(vm)).toBe('again');
    for (const vm of vms) {
      vm.pollReceived();
      expect(vm.received).toEqual([]);
    }
    expect((await world.daemon.vm('a')).output.datagrams).toBe(before + 1);
    await world.balance();
  });

  test('what the base answers itself: echo and ARP, on either worker', async () => {
    for (const [name, host] of [
      ['a', A],
      ['b', B],
    ] as const) {
      const vm = await world.vm(name);
      await vm.send(echoFrame(host, BASE_IP, 3));
      expect(parse((await vm.receive()).frame)).toMatchObject({
        source: BASE_MAC,
        ip: { source: BASE_IP, destination: host.ip },
        icmp: { type: 0 },
      });
    }
    await world.balance();
  });

  test('a receiver that is not there, and a spoofed source: dropped and counted', async () => {
    const a = await world.vm('a');
    const before = (await world.daemon.vm('a')).drops;
    await a.send(udpFrame(A, B.ip, Buffer.from('anybody?')));
    await a.send(udpFrame({ ...A, ip: C.ip }, B.ip, Buffer.from('who am I?')));
    await world.daemon.untilCount('a', 'receiverNotRunning', before.receiverNotRunning + 1);
    await world.daemon.untilCount('a', 'spoofed', before.spoofed + 1);
    await world.balance();
  });

  test('64 KiB are segmented for a receiver without segmentation, by its own worker', async () => {
    const random = seeded();
    const header = {
      flags: HDR_FLAG.needsCsum,
      checksumStart: 34,
      checksumOffset: 16,
      gsoType: GSO.tcpv4,
      gsoSize: 1448,
      headerLength: 54,
    };
    const data = random.bytes(40_000);
    const sent = tcpFrame(A, B.ip, data, { checksum: 'partial', sequence: 7 });
    const a = await world.vm('a', { transmitBytes: 4096 });
    const whole = await world.vm('b');
    await a.send(sent, { header });
    const one = await whole.receive();
    expect(one.header).toMatchObject({ gsoType: GSO.tcpv4, gsoSize: 1448 });
    expect(parse(one.frame).tcp!.payload.equals(data)).toBe(true);
    whole.close();
    await world.daemon.untilState('b', 'waiting');

    const plain = await world.vm('b', { features: PLAIN_FEATURES });
    await a.send(sent, { header });
    const got = Buffer.alloc(data.length);
    for (let at = 0; at < data.length; ) {
      const segment = await plain.receive();
      expect(segment.header.gsoType).toBe(0);
      const { tcp, problems, checksum } = parse(segment.frame);
      expect([problems, checksum]).toEqual([[], 'good']);
      tcp!.payload.copy(got, tcp!.sequence - 7);
      at += tcp!.payload.length;
    }
    expect(got.equals(data)).toBe(true);
    await world.balance();
  });

  test('checksums are completed for a receiver that does not, and a legacy header is made', async () => {
    const a = await world.vm('a');
    const legacy = FEATURE.CSUM | FEATURE.EVENT_IDX | FEATURE.INDIRECT_DESC;
    const b = await world.vm('b', { features: legacy });
    await a.send(udpFrame(A, B.ip, Buffer.from('unfinished'), { checksum: 'partial' }), {
      header: { flags: HDR_FLAG.needsCsum, checksumStart: 34, checksumOffset: 6 },
    });
    expect(parse((await b.receive()).frame)).toMatchObject({ problems: [], checksum: 'good' });
  });

  test('a flood at a VM of the other worker that takes nothing: the sender’s other datagrams lose nothing', async () => {
    const [a, c] = [await world.vm('a'), await world.vm('c')];
    await world.vm('b', { receiveBuffers: 4 });
    const before = (await world.daemon.vm('a')).drops;
    for (let i = 0; i < 6000; i++) {
      await a.send(udpFrame(A, B.ip, Buffer.alloc(900)));
      if (i % 16 !== 0) continue;
      await a.send(udpFrame(A, C.ip, Buffer.from(`${i}`)));
      expect(await text(c)).toBe(`${i}`);
    }
    await a.untilSent();
    await world.balance();
    const { drops, output } = await world.daemon.vm('a');
    const lost = drops.inputFull - before.inputFull + drops.handoffFull - before.handoffFull;
    const { waiting } = output as unknown as { waiting: number };
    // Four are in b's buffers, the backlog holds some, and nothing is left in the ring.
    expect(lost + waiting).toBe(6000 - 4);
    expect(waiting).toBeLessThanOrEqual(512);
  });

  test('what waits for two VMs of one worker comes to each whole and in order', async () => {
    const a = await world.vm('a');
    const [b, d] = [
      await world.vm('b', { receiveBuffers: 4 }),
      await world.vm('d', { receiveBuffers: 4 }),
    ];
    for (let i = 0; i < 100; i++)
      for (const { ip } of [B, D])
        await a.send(udpFrame(A, ip, Buffer.from(`${i} to ${ip}`.padEnd(900))));
    // Four each are in their buffers, and the base's question for d's MAC in one.
    await until('the rest to wait', async () => (await world.daemon.count('a', 'waiting')) >= 192);
    for (const [vm, { ip }] of [
      [b, B],
      [d, D],
    ] as const) {
      for (let i = 0; i < 100; ) {
        const { udp } = parse((await vm.receive()).frame);
        if (udp !== undefined) expect(udp.payload.toString().trimEnd()).toBe(`${i++} to ${ip}`);
      }
    }
    await world.balance();
  });

  test('the way that a datagram takes is shown from either side', async () => {
    const [a, b] = [await world.vm('a'), await world.vm('b')];
    const traces = ['a', 'b'].map((vm) =>
      world.daemon.get(`/v1/trace?vm=${vm}&count=1&seconds=8`).then((answer) => JSON.parse(answer)),
    );
    let done = false;
    const both = Promise.all(traces).finally(() => {
      done = true;
    });
    await until('the traces', async () => {
      if (!done) await a.send(udpFrame(A, B.ip, Buffer.from('look')));
      b.pollReceived();
      return done;
    });
    const [out, into] = (await both) as { datagrams: Record<string, unknown>[] }[];
    expect(out.datagrams[0]).toMatchObject({
      from: { port: 'a', kind: 'output buffer' },
      decision: 'to VM b',
      to: { port: 'b', kind: 'the ring to its turn worker' },
    });
    expect(into.datagrams[0]).toMatchObject({
      from: { port: 'a', kind: 'the ring from its turn worker' },
      decision: 'to VM b',
      to: { port: 'b', kind: 'input buffer' },
    });
  });
});

test('three workers, VMs where the configuration puts them, packed rings', async () => {
  world = await World.start({
    networks: {
      lan: { subnet: '10.77.0.0/24', address: BASE_IP, mac: BASE_MAC, packed: true },
    },
    vms: {
      a: { ...THREE_VMS.a, worker: 2 },
      b: { ...THREE_VMS.b, worker: 1 },
      c: { ...THREE_VMS.c, worker: 2 },
    },
    datapath: { workers: 3, poll: 'busy' },
  });
  try {
    expect([await workerOf('a'), await workerOf('b'), await workerOf('c')]).toEqual([2, 1, 2]);
    const a = await world.vm('a', { packed: true });
    const b = await world.vm('b', { packed: true });
    const c = await world.vm('c');
    for (let i = 0; i < 100; i++) {
      await a.send(udpFrame(A, B.ip, Buffer.from(`a to b ${i}`)));
      await b.send(udpFrame(B, C.ip, Buffer.from(`b to c ${i}`)));
      await c.send(udpFrame(C, A.ip, Buffer.from(`c to a ${i}`)));
      expect([await text(b), await text(c), await text(a)]).toEqual([
        `a to b ${i}`,
        `b to c ${i}`,
        `c to a ${i}`,
      ]);
    }
    await world.balance();
  } finally {
    await world.close();
  }
});

describe.skipIf(NO_LAN !== '')(
  `the adapter is the first worker’s${NO_LAN && ` (${NO_LAN})`}`,
  () => {
    let lan: Lan;
    let a: Vm;
    let b: Vm;
    beforeAll(async () => {
      lan = await Lan.start();
      world = await World.start(
        {
          // b, which opens it and talks through it, is the second worker's.
          vms: { ...FOUR_VMS, b: { ...THREE_VMS.b, management: true, prefixes: ['10.99.0.0/24'] } },
          adapters: { uplink: { interface: LAN_INTERFACE, controllers: ['b'], lease: 600 } },
          datapath: TWO_WORKERS,
        },
        { under: lan.under },
      );
      a = await world.vm('a');
      b = await world.vm('b');
    });
    afterAll(async () => {
      await world?.close();
      await lan?.close();
    });

    /** Sends until what fits has come: the first times neighbours may be unknown. */
    async function ask<T>(frame: Buffer, fits: (got: ReturnType<typeof parse>) => T | undefined) {
      await b.send(frame);
      return until('an answer', () => {
        b.pollReceived();
        for (const { frame } of b.received.splice(0)) {
          const found = fits(parse(frame));
          if (found !== undefined) return found;
        }
        return null;
      });
    }

    test('closed: the ICMP error comes back to the other worker’s VM', async () => {
      const sent = udpFrame(B, LAN_IP, Buffer.from('anybody?'));
      const icmp = await ask(sent, ({ icmp, destination, ip }) =>
        destination === B.mac && ip?.source === BASE_IP ? icmp : undefined,
      );
      expect(icmp).toMatchObject({ type: 3, code: 0 });
      await world.daemon.untilCount('b', 'adapterClosed', 1);
      await world.balance();
    });

    test('a control request of the other worker’s VM opens it, and the answer comes', async () => {
      const request = Buffer.from('{"id":5,"op":"open","adapter":"uplink"}');
      const answer = await ask(
        udpFrame(B, BASE_IP, request, { ports: [4444, 7356] }),
        ({ udp, destination }) =>
          udp?.sourcePort === 7356 && destination === B.mac
            ? (JSON.parse(udp.payload.toString()) as Record<string, unknown>)
            : undefined,
      );
      expect(answer).toMatchObject({ id: 5, ok: true });
      const { adapters } = await world.daemon.status();
      expect(adapters.uplink).toMatchObject({ state: 'open', openedBy: 'b' });
      expect(await world.daemon.count('b', 'controlRequests')).toBe(1);
    });

    test('out through the adapter and back, from either worker', async () => {
      for (let i = 0; i < 200; i++) {
        for (const [vm, host] of [
          [a, A],
          [b, B],
        ] as const) {
          const payload = Buffer.alloc(1 + ((i * 7) % 1400), i);
          await vm.send(udpFrame(host, LAN_IP, payload, { ports: [6000, LAN_ECHO_PORT] }));
          const got = parse((await vm.receive()).frame);
          expect(got.problems.filter((problem) => problem !== '')).toEqual([]);
          expect(got.udp!.payload.equals(payload), `${host.ip}, ${i}`).toBe(true);
        }
      }
      await world.balance();
      const { uplink } = (await world.daemon.status()).adapters;
      const { received, drops } = uplink as unknown as {
        received: { datagrams: number; delivered: number; waiting: number };
        drops: Record<string, number>;
      };
      const dropped = Object.values(drops).reduce((sum, count) => sum + count, 0);
      expect(received.delivered).toBeGreaterThanOrEqual(400);
      expect(received.datagrams).toBe(received.delivered + received.waiting + dropped);
    });

    test('what waits for a neighbour’s MAC stays in order, and what is sent meanwhile does not overtake it', async () => {
      const { uplink } = (await world.daemon.status()).adapters;
      for (const [index, [vm, host]] of (
        [
          [a, A],
          [b, B],
        ] as const
      ).entries()) {
        // The order that is looked at is the base's: the host's kernel has nothing to resolve.
        lan.know(host.ip, uplink.mac as string);
        for (let round = 0; round < 30; round++) {
          const address = `10.77.0.${100 + 40 * index + round}`;
          lan.addAddress(address);
          let sent = 0;
          const seen: number[] = [];
          await until('all echoes', () => {
            const number = Buffer.from([sent]);
            if (
              sent < 40 &&
              vm.trySend(udpFrame(host, address, number, { ports: [6000, LAN_ECHO_PORT] }))
            )
              sent++;
            vm.pollReceived();
            for (const { frame } of vm.received.splice(0)) seen.push(parse(frame).udp!.payload[0]);
            return seen.length === 40;
          });
          expect(seen, `${host.ip}, round ${round}`).toEqual([...seen.keys()]);
        }
      }
      await world.balance();
    });

    test('to a neighbour that nobody is: waits, then is dropped, in the sender’s books', async () => {
      const before = (await world.daemon.vm('b')).drops.neighbourUnresolved;
      await b.send(udpFrame(B, '10.77.0.99', Buffer.from('hello?')));
      await until('it to wait', async () => (await world.daemon.count('b', 'waiting')) === 1);
      await world.daemon.untilCount('b', 'neighbourUnresolved', before + 1);
      await world.balance();
    });

    test('a frame that is no IP is the first look’s, not handed over', async () => {
      const before = (await world.daemon.vm('b')).drops.ipv6;
      const frame = ethernet(
        { source: B.mac, destination: BASE_MAC, type: ETHERTYPE.ipv6 },
        Buffer.alloc(60),
      );
      await b.send(frame);
      await world.daemon.untilCount('b', 'ipv6', before + 1);
      await world.balance();
    });
  },
);
