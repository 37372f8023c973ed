/** Tags of VLAN 0, which say a priority and name no VLAN: taken off, whatever the datagram behind them wants done. */
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { BASE_IP, BASE_MAC } from '../support/daemon.ts';
import { GSO, HDR_FLAG, type NetHeader } from '../support/net-header.ts';
import { arp, BROADCAST, ETHERTYPE, ethernet, parse } from '../support/packets.ts';
import { FEATURE } from '../support/protocol.ts';
import { Random } from '../support/random.ts';
import { A, B, echoFrame, forwarded, tcpFrame, udpFrame } from '../support/traffic.ts';
import { LINUX_FEATURES, PLAIN_FEATURES, type VmOptions } from '../support/vm.ts';
import { World } from '../support/world.ts';

const PRIORITY_5 = Buffer.from([0x81, 0x00, 0xa0, 0x00]);
const VLAN_256 = Buffer.from([0x81, 0x00, 0xa1, 0x00]);
const LEGACY = FEATURE.CSUM | FEATURE.EVENT_IDX | FEATURE.INDIRECT_DESC;
const random = new Random(11);

let world: World;
beforeAll(async () => {
  world = await World.start();
});
afterEach(() => world.release());
afterAll(() => world?.close());

function tagged(frame: Buffer, ...tags: Buffer[]): Buffer {
  return Buffer.concat([frame.subarray(0, 12), ...tags, frame.subarray(12)]);
}

async function both(sender: VmOptions = {}, receiver: VmOptions = {}) {
  return [
    await world.vm('a', { transmitBytes: 8192, ...sender }),
    await world.vm('b', receiver),
  ] as const;
}

const UNFINISHED: Partial<NetHeader> = {
  flags: HDR_FLAG.needsCsum,
  checksumStart: 38,
  checksumOffset: 6,
};

test('a datagram arrives without it, and the books balance', async () => {
  const [a, b] = await both();
  const frame = udpFrame(A, B.ip, random.bytes(300));
  await a.send(tagged(frame, PRIORITY_5));
  expect((await b.receive()).frame.equals(forwarded(frame, B))).toBe(true);
  await world.balance();
});

test('a sender with the short header of a legacy driver', async () => {
  const [a, b] = await both({ features: LEGACY });
  const frame = udpFrame(A, B.ip, random.bytes(300), { checksum: 'partial' });
  await a.send(tagged(frame, PRIORITY_5), { header: UNFINISHED });
  expect(parse((await b.receive()).frame)).toMatchObject({ problems: [] });
});

test.each([
  ['a receiver with GUEST_CSUM', LINUX_FEATURES],
  ['one without', PLAIN_FEATURES],
])('a checksum that was left to the device: %s', async (_, features) => {
  const [a, b] = await both({}, { features });
  await a.send(tagged(udpFrame(A, B.ip, random.bytes(300), { checksum: 'partial' }), PRIORITY_5), {
    header: UNFINISHED,
  });
  const { header, frame } = await b.receive();
  const got = parse(frame);
  expect(got.problems).toEqual([]);
  if (features === PLAIN_FEATURES) expect(got.checksum).toBe('good');
  else expect(header).toMatchObject({ flags: 1, checksumStart: 34, checksumOffset: 6 });
});

test.each([
  ['whole', LINUX_FEATURES],
  ['in segments', PLAIN_FEATURES],
])('a large TCP datagram: %s', async (_, features) => {
  const [a, b] = await both({}, { features });
  const payload = random.bytes(5000);
  await a.send(tagged(tcpFrame(A, B.ip, payload, { checksum: 'partial' }), PRIORITY_5), {
    header: {
      flags: HDR_FLAG.needsCsum,
      checksumStart: 38,
      checksumOffset: 16,
      gsoType: GSO.tcpv4,
      gsoSize: 1000,
      headerLength: 58,
    },
  });
  const pieces: Buffer[] = [];
  while (Buffer.concat(pieces).length < payload.length) {
    const got = parse((await b.receive()).frame);
    expect(got.problems).toEqual([]);
    pieces.push(got.tcp!.payload);
  }
  expect(pieces.length).toBe(features === PLAIN_FEATURES ? 5 : 1);
  expect(Buffer.concat(pieces).equals(payload)).toBe(true);
});

test('ARP is answered, and so is an echo request', async () => {
  const [a] = await both();
  const request = ethernet(
    { source: A.mac, destination: BROADCAST, type: ETHERTYPE.arp },
    arp({ operation: 1, senderMac: A.mac, senderIp: A.ip, targetIp: BASE_IP }),
  );
  await a.send(tagged(request, PRIORITY_5));
  expect(parse((await a.receive()).frame).arp?.senderMac).toBe(BASE_MAC);
  await a.send(tagged(echoFrame(A, BASE_IP), PRIORITY_5));
  expect(parse((await a.receive()).frame).icmp?.type).toBe(0);
});

test('the tag of a VLAN, a second tag, and one that is cut off are dropped', async () => {
  const [a, b] = await both();
  const frame = udpFrame(A, B.ip, Buffer.from('x'));
  const lies = [
    tagged(frame, VLAN_256),
    tagged(frame, PRIORITY_5, PRIORITY_5),
    tagged(frame, PRIORITY_5, VLAN_256),
    ethernet({ source: A.mac, destination: BASE_MAC, type: ETHERTYPE.vlan }, Buffer.alloc(60)),
    tagged(frame, PRIORITY_5).subarray(0, 14),
    tagged(frame, PRIORITY_5).subarray(0, 17),
  ];
  const before = (await world.daemon.vm('a')).drops.vlan;
  for (const lie of lies) await a.send(lie);
  const header = { ...UNFINISHED, checksumStart: 2 };
  await a.send(tagged(frame, PRIORITY_5), { header });
  await a.send(frame);
  expect((await b.receive()).frame.equals(forwarded(frame, B))).toBe(true);
  const { drops } = await world.daemon.vm('a');
  expect(drops.vlan - before).toBe(lies.length);
  expect(drops.badChecksumOffload).toBe(1);
  await world.balance();
});
