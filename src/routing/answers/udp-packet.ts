/** UDP datagrams that the base sends by itself, such as replies to control requests: packets for the outbox. */
import { HEADER_BYTES } from '../../storage/base-storage.ts';
import * as ethernet from '../../wire/ethernet.ts';
import * as ipv4 from '../../wire/ipv4.ts';
import * as mac from '../../wire/mac.ts';
import * as udp from '../../wire/udp.ts';
import { BASE, type Outbox } from '../../storage/outbox.ts';

/** In front of the payload, without options. */
export const UDP_HEADERS = ipv4.MIN_HEADER_BYTES + udp.HEADER_BYTES;
const HEADERS = HEADER_BYTES + ethernet.HEADER_BYTES + UDP_HEADERS;

/** Most payload of a UDP datagram over IPv4 without options. */
export const MAX_UDP_PAYLOAD = ipv4.MAX_TOTAL_BYTES - UDP_HEADERS;

/** Where a datagram comes from or goes to. */
export interface UdpEnd {
  readonly mac: Uint8Array;
  /** Address as a key. */
  readonly address: number;
  readonly port: number;
}

/**
 * A fresh packet, virtio-net header of zeros and a frame with complete checksums. Throws RangeError when `payload` is
 * longer than MAX_UDP_PAYLOAD; the sender knows the MTU.
 */
export function udpPacket(source: UdpEnd, destination: UdpEnd, payload: Uint8Array): Uint8Array {
  if (payload.length > MAX_UDP_PAYLOAD) {
    throw new RangeError(`a UDP datagram can't carry ${payload.length} bytes`);
  }
  const packet = new Uint8Array(HEADERS + payload.length);
  const at = HEADER_BYTES;
  mac.copy(packet, at + ethernet.DESTINATION, destination.mac, 0);
  mac.copy(packet, at + ethernet.SOURCE, source.mac, 0);
  ethernet.setEtherType(packet, at, ethernet.TYPE_IPV4);

  const ip = at + ethernet.HEADER_BYTES;
  const total = packet.length - ip;
  ipv4.writeHeader(packet, ip, 0, total, ipv4.PROTOCOL_UDP, source.address, destination.address);

  const l4 = ip + ipv4.MIN_HEADER_BYTES;
  udp.setSourcePort(packet, l4, source.port);
  udp.setDestinationPort(packet, l4, destination.port);
  udp.setLength(packet, l4, total - ipv4.MIN_HEADER_BYTES);
  packet.set(payload, HEADERS);
  udp.writeChecksum(packet, l4, source.address, destination.address);
  return packet;
}

/**
 * A packet of `udpPacket`, as a wire takes it that takes `mtu` bytes, 68 at least: itself, or its fragments in order (RFC 791 §3.2), each
 * complete. `identification`: another one each time.
 */
export function fragmentsFor(
  packet: Uint8Array,
  mtu: number,
  identification: number,
): Uint8Array[] {
  const ip = HEADER_BYTES + ethernet.HEADER_BYTES;
  if (packet.length - ip <= mtu) return [packet];
  const start = ip + ipv4.MIN_HEADER_BYTES;
  const size = (mtu - ipv4.MIN_HEADER_BYTES) & -8; // offsets count in 8 bytes
  const fragments: Uint8Array[] = [];
  for (let from = start; from < packet.length; from += size) {
    const data = packet.subarray(from, from + size);
    const fragment = new Uint8Array(start + data.length);
    fragment.set(packet.subarray(0, start));
    fragment.set(data, start);
    const more = from + size < packet.length ? ipv4.MORE_FRAGMENTS : 0;
    ipv4.setTotalLength(fragment, ip, fragment.length - ip);
    ipv4.setIdentification(fragment, ip, identification);
    ipv4.setFragment(fragment, ip, ((from - start) >> 3) | more);
    ipv4.writeChecksum(fragment, ip);
    fragments.push(fragment);
  }
  return fragments;
}

/** Of the last datagram that went in fragments: 16 bits. */
let identification = 0;

/** Queues a packet of `udpPacket` for the VM's port `to`, whose way takes `mtu` bytes, in fragments where it is longer. False when the outbox is full. */
export function queueUdp(outbox: Outbox, to: number, packet: Uint8Array, mtu: number): boolean {
  identification = (identification + 1) & 0xffff;
  const pieces = fragmentsFor(packet, mtu, identification);
  return pieces.every((piece) => outbox.add(BASE, to, piece));
}
