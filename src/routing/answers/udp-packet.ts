/** UDP datagrams that the base sends by itself, such as replies to control requests: packets for the outbox. */
import { HEADER_BYTES } from '../../storage/base-storage.ts';
import * as ethernet from '../../wire/ethernet.ts';
import * as ipv4 from '../../wire/ipv4.ts';
import * as mac from '../../wire/mac.ts';
import * as udp from '../../wire/udp.ts';

const HEADERS = HEADER_BYTES + ethernet.HEADER_BYTES + ipv4.MIN_HEADER_BYTES + udp.HEADER_BYTES;

/** Most payload of a UDP datagram over IPv4 without options. */
export const MAX_UDP_PAYLOAD = ipv4.MAX_TOTAL_BYTES - ipv4.MIN_HEADER_BYTES - udp.HEADER_BYTES;

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
