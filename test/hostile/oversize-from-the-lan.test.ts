/**
 * Ranked case 25: the LAN sends what the receiving VM's driver can't take: jumbo frames, datagrams of 64 KiB that are to be segmented (what a
 * kernel hands on when it has merged segments), header flags that were not negotiated. The VM gets what it negotiated or nothing.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { findCount } from '../support/daemon.ts';
import { useFixture } from '../support/fixture.ts';
import { LAN_INTERFACE, LAN_IP, NO_LAN, Wire } from '../support/lan.ts';
import { GSO, HDR_FLAG, type NetHeader } from '../support/net-header.ts';
import { pattern } from '../support/offload-frames.ts';
import { ETHERTYPE, ethernet, ipv4, PROTOCOL, parse, tcp, udp } from '../support/packets.ts';
import { FEATURE } from '../support/protocol.ts';
import { LONG } from '../support/random.ts';
import { A } from '../support/traffic.ts';
import { until } from '../support/until.ts';
import { LINUX_FEATURES, PLAIN_FEATURES, type Vm } from '../support/vm.ts';

const OVERSIZE = LONG ? 100_000 : 5000;
/** Half of what waits for a processor in the kernel at most (net.core.netdev_max_backlog); more it would drop between the veth's ends, uncounted here. */
const AT_ONCE = 500;
const HOST_MAC = '02:00:00:00:99:99';
const MSS = 1448;

describe.skipIf(NO_LAN !== '')(`oversize from the LAN${NO_LAN && ` (${NO_LAN})`}`, () => {
  const fixture = useFixture();
  let wire: Wire;
  let mac: string;
  beforeAll(async () => {
    const lan = fixture().lan!;
    lan.ipInside('link', 'set', LAN_INTERFACE, 'mtu', '9000');
    lan.ipOutside('link', 'set', 'lan0', 'mtu', '9000');
    mac = (await fixture().daemon.status()).adapters.outside.mac as string;
    wire = await Wire.open(lan);
  });
  afterAll(() => wire?.close());

  const addresses = { source: LAN_IP, destination: A.ip };
  const frameOf = (protocol: number, segment: Buffer, flags = 2) =>
    ethernet(
      { source: HOST_MAC, destination: mac, type: ETHERTYPE.ipv4 },
      ipv4({ ...addresses, protocol, flags }, segment),
    );
  const udpOf = (payload: Uint8Array) =>
    frameOf(PROTOCOL.udp, udp({ ...addresses, sourcePort: 9, destinationPort: 9 }, payload));

  /** TCP that is to be segmented. */
  function merged(data: Uint8Array): { frame: Buffer; header: Partial<NetHeader> } {
    const ports = { ...addresses, sourcePort: 1, destinationPort: 2, sequence: 0 };
    const header = {
      flags: HDR_FLAG.needsCsum,
      gsoType: GSO.tcpv4,
      headerLength: 54,
      gsoSize: MSS,
      checksumStart: 34,
      checksumOffset: 16,
    };
    return { frame: frameOf(PROTOCOL.tcp, tcp({ ...ports, checksum: 'partial' }, data)), header };
  }

  async function normalArrives(a: Vm): Promise<void> {
    const text = `normal ${Math.random()}`;
    await wire.send(udpOf(Buffer.from(text)));
    const { frame, header } = await a.receive();
    expect(parse(frame)).toMatchObject({ problems: [] });
    expect(parse(frame).udp?.payload.toString()).toBe(text);
    expect(header).toMatchObject({ flags: header.flags & HDR_FLAG.dataValid, gsoType: 0 });
  }

  const DRIVERS = {
    'plain driver': PLAIN_FEATURES,
    'driver with checksums only': PLAIN_FEATURES | FEATURE.GUEST_CSUM,
    'Linux driver': LINUX_FEATURES,
  };

  for (const [name, features] of Object.entries(DRIVERS)) {
    test(`${OVERSIZE} jumbo frames that must not be cut, to a ${name}`, {
      timeout: 120_000,
    }, async () => {
      const a = await fixture().attacker({ features });
      // What the ring had no room for is counted by the kernel, and asked for once a second.
      const counted = async () => {
        const { outside } = (await fixture().daemon.status()).adapters;
        return outside.drops.tooBig + findCount(outside, 'receiveOverruns', 'the adapter');
      };
      const before = await counted();
      for (let sent = AT_ONCE; sent <= OVERSIZE; sent += AT_ONCE) {
        await wire.send(udpOf(pattern(8000)), {}, AT_ONCE);
        await until('all of them to be refused', async () => (await counted()) === before + sent);
      }
      await normalArrives(a);
      expect(a.received).toEqual([]);
    });
  }

  for (const [name, features] of Object.entries(DRIVERS).slice(0, 2)) {
    test(`64 KiB to be segmented, to a ${name}`, async () => {
      const a = await fixture().attacker({ features });
      const data = pattern(40 * MSS + 77);
      const { frame, header } = merged(data);
      await wire.send(frame, header);
      const got = Buffer.alloc(data.length);
      for (let at = 0; at < data.length; ) {
        const one = await a.receive();
        const segment = parse(one.frame);
        expect(one.header).toMatchObject({ gsoType: 0, gsoSize: 0 });
        expect(one.header.flags & HDR_FLAG.needsCsum, 'checksums are complete').toBe(0);
        expect(segment.problems).toEqual([]);
        expect(segment.checksum).not.toBe('partial');
        expect(one.frame.length).toBeLessThanOrEqual(1514);
        const { payload } = segment.tcp!;
        payload.copy(got, segment.tcp!.sequence);
        at += payload.length;
      }
      expect(got.equals(data)).toBe(true);
      await normalArrives(a);
    });
  }

  test('64 KiB to be segmented, to a Linux driver: whole, over many buffers', async () => {
    const a = await fixture().attacker();
    const data = pattern(40 * MSS + 77);
    const { frame, header } = merged(data);
    await wire.send(frame, header);
    const one = await a.receive();
    expect(one.header).toMatchObject({ gsoType: GSO.tcpv4, gsoSize: MSS });
    expect(one.buffers).toBeGreaterThan(20);
    expect(parse(one.frame).tcp!.payload.equals(data)).toBe(true);
    await normalArrives(a);
  });

  test('64 KiB to a driver that negotiated segmentation, but whose buffers are too small', async () => {
    const features = PLAIN_FEATURES | FEATURE.GUEST_CSUM | FEATURE.GUEST_TSO4;
    const a = await fixture().attacker({ features });
    const drops = async () =>
      (await fixture().daemon.status()).adapters.outside.drops.inputTooSmall;
    const before = await drops();
    const { frame, header } = merged(pattern(40 * MSS));
    // More than it has buffers; at once no more than the receive ring has room for.
    for (let sent = 60; sent <= 300; sent += 60) {
      await wire.send(frame, header, 60);
      await until('all of them to be dropped', async () => (await drops()) === before + sent);
    }
    await normalArrives(a);
    expect(a.receiveQueue().taken).toBe(1);
  });
});
