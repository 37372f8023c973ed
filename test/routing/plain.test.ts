/**
 * The plain loop of the router, run after run of mixed datagrams, against what each datagram for itself should become. It remembers
 * the last destination's owner from one datagram to the next: nothing of one may stick to another.
 */
import { expect, test } from 'vitest';
import { native } from '../../src/native.ts';
import { Attachment } from '../../src/port/attachment.ts';
import { Port } from '../../src/port/port.ts';
import { AddressList } from '../../src/routing/address-list.ts';
import { Network } from '../../src/routing/network.ts';
import { plainRoute } from '../../src/routing/plain.ts';
import { UNDECIDED } from '../../src/routing/verdict.ts';
import { keyOf } from '../../src/wire/ipv4-address.ts';
import { parseMac } from '../../src/wire/mac.ts';
import { encodeNetHeader, type NetHeader } from '../support/net-header.ts';
import { checksum, ethernet, ETHERTYPE, ipv4, macText, PROTOCOL } from '../support/packets.ts';
import { seeded } from '../support/random.ts';
import { dirtyStorage, expectBytes, frameOf, headerOf, putFrame } from '../support/slots.ts';

const BASE_MAC = '02:00:0a:4d:00:01';
const MTU = 1500;
const RUNS = 400;

/** The sender, two that can be reached, one that is not connected, one whose MAC is unknown, and one with several addresses. */
const VMS = [
  { addresses: ['10.77.0.10', '10.77.0.50'], mac: '52:54:00:00:00:10', connected: true },
  { addresses: ['10.77.0.11'], mac: '52:54:00:00:00:11', connected: true },
  { addresses: ['10.77.0.12', '10.77.0.60'], mac: '52:54:00:00:00:12', connected: true },
  { addresses: ['10.77.0.13'], mac: '52:54:00:00:00:13', connected: false },
  { addresses: ['10.77.0.14'], mac: null, connected: true },
];
/** Where datagrams go to, and the VM that a plain one reaches there, or null. */
const DESTINATIONS: [string, number | null][] = [
  ['10.77.0.11', 1],
  ['10.77.0.12', 2],
  ['10.77.0.60', 2],
  ['10.77.0.10', null], // its own
  ['10.77.0.50', null], // its other own
  ['10.77.0.13', null],
  ['10.77.0.14', null],
  ['10.77.0.99', null],
  ['0.0.0.0', null],
  ['255.255.255.255', null],
];

const network = new Network({
  name: 'lan',
  subnet: '10.77.0.0',
  prefix: 24,
  address: '10.77.0.1',
  mac: BASE_MAC,
  mtu: MTU,
  packed: false,
});
// Seeded, or a few runs in a thousand would have an address beyond the third place.
Object.assign(network, { addresses: new AddressList(64, 1) });
const ports = VMS.map(({ addresses, mac, connected }, number) => {
  const vm = { name: `vm${number}`, network: 0, addresses, prefixes: [], mac, management: false };
  const port = new Port(number, { ...vm, worker: 0, sockets: [] }, keyOf(addresses[0]));
  if (mac !== null) port.setMac(parseMac(mac), 0);
  if (connected) port.current = new Attachment(native);
  network.enter(port);
  return port;
});

/** What keeps a datagram from being plain. */
const FLAWS = {
  'another source MAC': (frame) => flipped(frame, 11, 1),
  'the first byte of the source MAC': (frame) => flipped(frame, 6, 1),
  'another EtherType': (frame) => void frame.writeUInt16BE(ETHERTYPE.arp, 12),
  'a foreign source': (frame) => corrected(frame, () => frame.writeUInt32BE(0x0a4d0063, 26)),
  "another VM's source": (frame) => corrected(frame, () => frame.writeUInt32BE(0x0a4d000c, 26)),
  'a wrong checksum': (frame) => flipped(frame, 24, 0x40),
  'a wrong identification': (frame) => flipped(frame, 19, 1),
  'a header of 24 bytes': (frame) => corrected(frame, () => frame.writeUInt8(0x46, 14)),
  'IP version 5': (frame) => corrected(frame, () => frame.writeUInt8(0x55, 14)),
  'more bytes than there are': (frame) =>
    corrected(frame, () => frame.writeUInt16BE(frame.length - 14 + 1, 16)),
  'fewer bytes than its header': (frame) => corrected(frame, () => frame.writeUInt16BE(19, 16)),
  'more bytes than the MTU': () => {},
  'an unfinished checksum': () => {},
  'a segment size': () => {},
} satisfies Record<string, (frame: Buffer) => void>;
type Flaw = keyof typeof FLAWS;

function flipped(frame: Buffer, at: number, bits: number): void {
  frame.writeUInt8(frame[at] ^ bits, at);
}

/** Changes a header and makes its checksum right again. */
function corrected(frame: Buffer, change: () => void): void {
  change();
  frame.writeUInt16BE(0, 24);
  frame.writeUInt16BE(checksum(frame.subarray(14, 34)), 24);
}

test('each datagram of a run is decided as if it were alone', () => {
  const random = seeded();
  const storage = dirtyStorage(1 << 20, 64);
  const route = plainRoute(storage, ports);
  const seen = new Set<string>();
  for (let run = 0; run < RUNS; run++) {
    storage.clear();
    const first = random.below(4);
    for (let slot = 0; slot < first; slot++) putFrame(storage, random.bytes(60));
    const before = frameOfAll(first);
    const expected: { owner: number | null; frame: Buffer; header: NetHeader }[] = [];
    const many = random.between(1, 40);
    let where = random.pick(DESTINATIONS);
    for (let index = 0; index < many; index++) {
      // In runs, as real ones come.
      if (random.chance(0.4)) where = random.pick(DESTINATIONS);
      const flaw = random.chance(0.15) ? random.pick(Object.keys(FLAWS) as Flaw[]) : null;
      const payload = random.bytes(
        flaw === 'more bytes than the MTU' ? MTU - 19 : random.below(90),
      );
      const packet = ipv4(
        {
          source: random.pick(['10.77.0.10', '10.77.0.10', '10.77.0.50']),
          destination: where[0],
          protocol: PROTOCOL.udp,
          identification: random.below(65536),
        },
        payload,
      );
      const padding = random.chance(0.3) ? random.bytes(random.below(30)) : Buffer.alloc(0);
      const frame = ethernet(
        { source: VMS[0].mac!, destination: BASE_MAC, type: ETHERTYPE.ipv4 },
        flaw === 'more bytes than there are' ? packet : Buffer.concat([packet, padding]),
      );
      if (flaw !== null) FLAWS[flaw](frame);
      const header: Partial<NetHeader> = {
        flags: flaw === 'an unfinished checksum' ? 1 : 0,
        gsoType: flaw === 'a segment size' ? 1 : 0,
        // Means nothing where no offload is asked for, and must not get to the receiver.
        headerLength: random.below(65536),
        checksumStart: random.below(65536),
      };
      const slot = putFrame(storage, frame, header, 0);
      const owner = flaw === null ? where[1] : null;
      seen.add(flaw ?? where[0]);
      if (owner === null) {
        expected.push({ owner, frame, header: headerOf(storage, slot) });
        continue;
      }
      const sent = Buffer.from(frame.subarray(0, 14 + packet.length));
      sent.set(parseMac(VMS[owner].mac!), 0);
      sent.set(parseMac(BASE_MAC), 6);
      expected.push({ owner, frame: sent, header: headerOf(storage, slot) });
    }
    const left = route(first, first + many, ports[0], network);
    expect(left).toBe(expected.filter(({ owner }) => owner === null).length);
    expect(frameOfAll(first)).toEqual(before);
    expected.forEach(({ owner, frame, header }, index) => {
      const slot = first + index;
      expect(storage.to[slot]).toBe(owner ?? UNDECIDED);
      expectBytes(frameOf(storage, slot), frame);
      const now = headerOf(storage, slot);
      if (owner === null) expect(now).toEqual(header);
      else {
        expectBytes(encodeNetHeader({ ...now, buffers: 0 }, 12), Buffer.alloc(12));
        expect(macText(frameOf(storage, slot).subarray(0, 6))).toBe(VMS[owner].mac);
      }
    });
  }
  expect(seen.size).toBe(DESTINATIONS.length + Object.keys(FLAWS).length);

  function frameOfAll(count: number): Buffer[] {
    return Array.from({ length: count }, (_, slot) => frameOf(storage, slot));
  }
});
