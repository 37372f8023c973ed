/**
 * Datagrams larger than the next wire takes: cut into fragments where their sender allows it, else refused with the size that fits
 * (RFC 791, RFC 1191, RFC 1812 §4.2.2.7); and the time to live on the way in from the LAN. At the LAN's end a real host's IP stack.
 */
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { BASE_IP, type Status } from '../support/daemon.ts';
import { LAN_IP, LAN_SINK_PORT, Lan, NO_LAN } from '../support/lan.ts';
import { GSO, HDR_FLAG } from '../support/net-header.ts';
import { pattern } from '../support/offload-frames.ts';
import { type Parsed, parse } from '../support/packets.ts';
import { A, B, C, THREE_VMS, tcpFrame, udpFrame } from '../support/traffic.ts';
import { until } from '../support/until.ts';
import type { Vm, VmOptions } from '../support/vm.ts';
import { World } from '../support/world.ts';

const MANAGER = { mac: '52:54:00:00:00:02', ip: '10.77.0.2' };
const BEHIND_B = '10.99.3.4';
const MTU = 1500;
const MAY_CUT = { flags: 0, identification: 0x4711 };
const LARGE: VmOptions = { transmitBytes: 16_384 };

/** All the fragments of one datagram; its IP payload. */
async function receiveWhole(vm: Vm): Promise<{ payload: Buffer; fragments: Parsed[] }> {
  const fragments: Parsed[] = [];
  do {
    const frame = parse((await vm.receive()).frame);
    expect(frame.problems).toEqual([]);
    expect(frame.ip!.totalLength).toBeLessThanOrEqual(MTU);
    expect(frame.ip!.fragmentOffset * 8).toBe(
      fragments.reduce((sum, { ip }) => sum + ip!.payload.length, 0),
    );
    fragments.push(frame);
  } while ((fragments.at(-1)!.ip!.flags & 1) !== 0);
  return { payload: Buffer.concat(fragments.map(({ ip }) => ip!.payload)), fragments };
}

const prefixed = { ...THREE_VMS, b: { ...THREE_VMS.b, prefixes: ['10.99.0.0/16'] } };

describe('too large for a VM’s network', () => {
  let world: World;
  let a: Vm;
  let b: Vm;
  beforeAll(async () => {
    world = await World.start({ vms: prefixed });
    a = await world.vm('a', LARGE);
    b = await world.vm('b');
  });
  afterEach(() => world.balance());
  afterAll(() => world?.close());

  test('must not be cut: refused with the size that fits', async () => {
    const before = (await world.daemon.vm('a')).drops.tooBig;
    for (const destination of [B.ip, BEHIND_B]) {
      const sent = udpFrame(A, destination, pattern(4000));
      await a.send(sent);
      const { ip, icmp, problems } = parse((await a.receive()).frame);
      expect(problems).toEqual([]);
      expect(ip!.source).toBe(BASE_IP);
      expect(icmp).toMatchObject({ type: 3, code: 4, rest: MTU });
      const quoted = icmp!.payload;
      expect(quoted.equals(sent.subarray(14, 14 + quoted.length)), 'quoted as sent').toBe(true);
    }
    await world.daemon.untilCount('a', 'tooBig', before + 2);
  });

  test('may be cut: arrives in fragments, through a hop with a lower time to live', async () => {
    for (const [destination, ttl] of [
      [B.ip, 9],
      [BEHIND_B, 8],
    ] as const) {
      const sent = udpFrame(A, destination, pattern(4000), { ip: { ...MAY_CUT, ttl: 9 } });
      await a.send(sent);
      const { payload, fragments } = await receiveWhole(b);
      expect(fragments.length).toBe(3);
      for (const { ip } of fragments)
        expect(ip).toMatchObject({ source: A.ip, destination, ttl, identification: 0x4711 });
      expect(payload.equals(sent.subarray(34))).toBe(true);
    }
  });

  test('its checksum, left to the device, is completed before it is cut', async () => {
    const whole = udpFrame(A, B.ip, pattern(3000), { ip: MAY_CUT });
    const sent = udpFrame(A, B.ip, pattern(3000), { ip: MAY_CUT, checksum: 'partial' });
    const header = { flags: HDR_FLAG.needsCsum, checksumStart: 34, checksumOffset: 6 };
    await a.send(sent, { header });
    expect((await receiveWhole(b)).payload.equals(whole.subarray(34))).toBe(true);
  });

  test('to be segmented, and the segments are too large: fragments of segments', async () => {
    const data = pattern(5000);
    const header = {
      flags: HDR_FLAG.needsCsum,
      gsoType: GSO.tcpv4,
      gsoSize: 2000,
      checksumStart: 34,
      checksumOffset: 16,
    };
    await a.send(tcpFrame(A, B.ip, data, { checksum: 'partial', ip: MAY_CUT }), { header });
    for (const [index, length] of [2000, 2000, 1000].entries()) {
      const sequence = index * 2000;
      const { payload, fragments } = await receiveWhole(b);
      expect(fragments.length, `${length}`).toBe(length === 1000 ? 1 : 2);
      expect(payload.readUInt32BE(4)).toBe(sequence);
      expect(payload.subarray(20).equals(data.subarray(sequence, sequence + length))).toBe(true);
    }
  });
});

describe.each([1, 2])(
  'too large for a driver that was told a smaller MTU: %i workers',
  (workers) => {
    const SMALL = 1280;
    let world: World;
    let a: Vm;
    let b: Vm;
    let c: Vm;
    beforeAll(async () => {
      world = await World.start({ vms: THREE_VMS, datapath: { workers } });
      a = await world.vm('a', LARGE);
      b = await world.vm('b');
      c = await world.vm('c');
      expect(await b.setMtu(SMALL)).toBe(0n);
    });
    afterEach(() => world.balance());
    afterAll(() => world?.close());

    test('must not be cut: refused with the size that fits', async () => {
      const before = (await world.daemon.vm('a')).drops.tooBig;
      await a.send(udpFrame(A, B.ip, pattern(1400)));
      expect(parse((await a.receive()).frame).icmp).toMatchObject({
        type: 3,
        code: 4,
        rest: SMALL,
      });
      await world.daemon.untilCount('a', 'tooBig', before + 1);
      // What fits goes on, and others take the network's.
      await a.send(udpFrame(A, B.ip, pattern(SMALL - 28)));
      expect(parse((await b.receive()).frame).ip!.totalLength).toBe(SMALL);
      await a.send(udpFrame(A, C.ip, pattern(1400)));
      expect(parse((await c.receive()).frame).ip!.totalLength).toBe(1428);
    });

    test('may be cut: arrives in fragments', async () => {
      await a.send(udpFrame(A, B.ip, pattern(1400), { ip: MAY_CUT }));
      const { fragments } = await receiveWhole(b);
      expect(fragments.map(({ ip }) => ip!.totalLength)).toEqual([1276, 172]);
    });

    test('a broadcast goes to those who take it', async () => {
      const before = await world.daemon.count('b', 'missed');
      for (const bytes of [1400, 100]) await a.send(udpFrame(A, '10.77.0.255', pattern(bytes)));
      for (const bytes of [1400, 100])
        expect(parse((await c.receive()).frame).udp!.payload.length).toBe(bytes);
      expect(parse((await b.receive()).frame).udp!.payload.length).toBe(100);
      expect(await world.daemon.count('b', 'missed')).toBe(before + 1);
    });
  },
);

describe('the smallest MTU', () => {
  test('bounds into how many pieces one datagram is cut', async () => {
    const lan = { subnet: '10.77.0.0/24', address: BASE_IP, mtu: 68 };
    const world = await World.start({ networks: { lan }, vms: THREE_VMS });
    try {
      const a = await world.vm('a', { transmitBytes: 16_384 });
      const b = await world.vm('b');
      // 48 bytes in each of 160 fragments; UDP's header is among them.
      const most = 160 * 48 - 8;
      const before = (await world.daemon.vm('a')).output.datagrams;
      await a.send(udpFrame(A, B.ip, pattern(most), { ip: MAY_CUT }));
      const { fragments } = await receiveWhole(b);
      expect(fragments.length).toBe(160);
      await a.send(udpFrame(A, B.ip, pattern(most + 1), { ip: MAY_CUT }));
      const { ip, icmp } = parse((await a.receive()).frame);
      expect(icmp).toMatchObject({ type: 3, code: 4, rest: 68 });
      expect(ip?.totalLength).toBe(68);
      await world.daemon.untilCount('a', 'tooBig', 1);
      expect((await world.daemon.vm('a')).output.datagrams - before).toBe(162);
      await world.balance();
    } finally {
      await world.close();
    }
  });
});

describe.skipIf(NO_LAN !== '')(`beside a LAN${NO_LAN && ` (${NO_LAN})`}`, () => {
  let lan: Lan;
  let world: World;
  let a: Vm;
  let b: Vm;
  beforeAll(async () => {
    lan = await Lan.start();
    setLanMtu(9000);
    lan.ipOutside('route', 'add', '10.99.0.0/16', 'via', BASE_IP);
    world = await World.start(
      {
        vms: {
          ...prefixed,
          manager: { addresses: [MANAGER.ip], mac: MANAGER.mac, management: true },
        },
        adapters: {
          uplink: { interface: lan.interface, network: 'lan', controllers: ['manager'], lease: 60 },
        },
      },
      { under: lan.under },
    );
    const manager = await world.vm('manager');
    const open = Buffer.from('{"id":1,"op":"open","adapter":"uplink"}');
    await manager.send(udpFrame(MANAGER, BASE_IP, open, { ports: [5555, 7356] }));
    expect(parse((await manager.receive()).frame).udp!.payload.toString()).toContain('"ok":true');
    a = await world.vm('a', LARGE);
    b = await world.vm('b');
  });
  afterEach(() => world.balance());
  afterAll(async () => {
    await world?.close();
    await lan?.close();
  });

  function setLanMtu(mtu: number): void {
    lan.setLink('mtu', `${mtu}`);
    lan.ipOutside('link', 'set', 'lan0', 'mtu', `${mtu}`);
  }

  const uplink = async (): Promise<Status['adapters'][string]> =>
    (await world.daemon.status()).adapters.uplink;

  async function untilDrops(reason: string, count: number): Promise<void> {
    await until(`${count} ${reason}`, async () => (await uplink()).drops[reason] === count);
  }

  test('from the LAN, must not be cut: the sender learns the size that fits', async () => {
    lan.setPathDiscovery(true);
    const before = [(await uplink()).drops.tooBig, lan.icmpReceived(3)];
    lan.send(A.ip, 5000, 'x'.repeat(4000));
    await until('its kernel to know', () =>
      lan.ipOutside('route', 'get', A.ip).includes('mtu 1500'),
    );
    await untilDrops('tooBig', before[0] + 1);
    expect(lan.icmpReceived(3)).toBe(before[1] + 1);
    // From now on it cuts by itself.
    lan.send(A.ip, 5000, 'y'.repeat(4000));
    const { payload, fragments } = await receiveWhole(a);
    expect(fragments.length).toBe(3);
    expect(payload.subarray(8).toString()).toBe('y'.repeat(4000));
  });

  test('from the LAN, may be cut: arrives in fragments', async () => {
    lan.setPathDiscovery(false);
    lan.ipOutside('route', 'flush', 'cache');
    for (const [destination, vm, ttl] of [
      [A.ip, a, 33],
      [BEHIND_B, b, 32],
    ] as const) {
      const text = `to ${destination} `.repeat(200);
      lan.send(destination, 5000, text, 33);
      const { payload, fragments } = await receiveWhole(vm);
      expect(fragments.length).toBeGreaterThan(1);
      for (const { ip } of fragments)
        expect(ip).toMatchObject({ source: LAN_IP, destination, ttl });
      expect(payload.subarray(8).toString()).toBe(text);
    }
  });

  test('from the LAN to what is behind a VM the base is a hop', async () => {
    lan.send(BEHIND_B, 5000, 'two', 2);
    expect(parse((await b.receive()).frame)).toMatchObject({
      problems: [],
      ip: { source: LAN_IP, destination: BEHIND_B, ttl: 1 },
    });
    const before = [(await uplink()).drops.ttlExpired, lan.icmpReceived(11)];
    lan.send(BEHIND_B, 5000, 'one', 1);
    await untilDrops('ttlExpired', before[0] + 1);
    await until('its kernel to hear', () => lan.icmpReceived(11) === before[1] + 1);
    // Within the subnet it is the wire.
    lan.send(B.ip, 5000, 'a wire', 1);
    expect(parse((await b.receive()).frame)).toMatchObject({ ip: { destination: B.ip, ttl: 1 } });
  });

  test('a flood from the LAN that asks for errors gets a few', async () => {
    const before = [(await uplink()).drops.ttlExpired, lan.icmpReceived(11)];
    const start = performance.now();
    for (let count = 0; count < 400; count++) lan.send(BEHIND_B, 5000, 'one', 1);
    await untilDrops('ttlExpired', before[0] + 400);
    const most = 50 + (100 * (performance.now() - start)) / 1000;
    const heard = lan.icmpReceived(11) - before[1];
    expect(heard).toBeGreaterThan(0);
    expect(heard).toBeLessThanOrEqual(most);
  });

  test('to the LAN, may be cut: its host puts it together', async () => {
    setLanMtu(600);
    await until('the adapter’s MTU', async () => (await uplink()).mtu === 600);
    const ports: [number, number] = [1234, LAN_SINK_PORT];
    const text = 'a datagram of some length '.repeat(50);
    // The first ones also wait for the neighbour's address.
    for (let count = 1; count <= 3; count++) {
      await a.send(udpFrame(A, LAN_IP, Buffer.from(text), { ports, ip: MAY_CUT }));
      await until(`datagram ${count}`, () => lan.sunk.length === count);
    }
    expect(lan.sunk.every((one) => one.from === A.ip && text.startsWith(one.text))).toBe(true);
    expect((await uplink()).neighbours, 'known neighbours').toBe(1);
    await a.send(udpFrame(A, LAN_IP, Buffer.from(text), { ports }));
    const { icmp } = parse((await a.receive()).frame);
    expect(icmp).toMatchObject({ type: 3, code: 4, rest: 600 });
  });

  test('to the LAN, many pieces for a neighbour whose address is not known yet: all of them wait', async () => {
    const stranger = '10.77.0.201';
    lan.ipOutside('addr', 'add', `${stranger}/24`, 'dev', 'lan0');
    const before = [lan.sunk.length, (await world.daemon.vm('a')).drops.neighbourUnresolved];
    const text = 'x'.repeat(60_000);
    const ports: [number, number] = [1234, LAN_SINK_PORT];
    await a.send(udpFrame(A, stranger, Buffer.from(text), { ports, ip: MAY_CUT }));
    await until('the first datagram', () => lan.sunk.length > before[0]);
    expect(text.startsWith(lan.sunk[before[0]].text)).toBe(true);
    expect((await world.daemon.vm('a')).drops.neighbourUnresolved).toBe(before[1]);
  });

  test('to the LAN, an error about a datagram from it is no longer than its MTU', async () => {
    setLanMtu(300);
    await until('the adapter’s MTU', async () => (await uplink()).mtu === 300);
    const before = lan.icmpReceived(11);
    lan.send(BEHIND_B, 5000, 'z'.repeat(250), 1);
    await until('its kernel to hear', () => lan.icmpReceived(11) === before + 1);
  });
});
