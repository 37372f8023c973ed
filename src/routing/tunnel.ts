/**
 * TCP and UDP inside of a tunnel, to be cut in there: what the kernel has merged of segments that came in a row through IP in IP or GRE, or
 * what a sender on this host left to an interface (VXLAN and the like, too). A virtio-net header has no word for tunnels. It says TCP or UDP
 * segmentation, and only the place of the unfinished checksum shows that the inner datagram is meant. No guest expects that, so it is always
 * cut, as Linux's `inet_gso_segment` and `__skb_udp_tunnel_segment` do.
 *
 * Inner headers need not lie on words, so they are read by bytes. Nothing is allocated.
 */
import type { BaseStorage } from '../storage/base-storage.ts';
import { read16, swap16, write16 } from '../wire/bytes.ts';
import * as checksum from '../wire/checksum.ts';
import * as ethernet from '../wire/ethernet.ts';
import * as ipv4 from '../wire/ipv4.ts';
import * as tcp from '../wire/tcp.ts';
import * as udp from '../wire/udp.ts';
import * as virtio from '../wire/virtio-net-header.ts';
import {
  innerIp,
  innerProtocol,
  IPV6,
  PROTOCOL_GRE,
  PROTOCOL_IPV4,
  PROTOCOL_IPV6,
} from './tunnel-inside.ts';

const IP = ethernet.HEADER_BYTES;

/** GRE (RFC 2784, RFC 2890): flags that change nothing from segment to segment, and where the checksum is. */
const GRE = { bytes: 4, checksum: 4, hasChecksum: 0x8000, hasKey: 0x2000 } as const;

/** True when it is not the datagram's own TCP or UDP that is to be segmented. Its IPv4 header has been checked. */
export function isTunnelled(storage: BaseStorage, slot: number): boolean {
  const { bytes } = storage;
  const at = storage.at[slot];
  const header = at - virtio.HEADER_BYTES;
  return (
    (virtio.flags(bytes, header) & virtio.NEEDS_CSUM) !== 0 &&
    virtio.csumStart(bytes, header) !== IP + ipv4.headerLength(bytes, at + IP)
  );
}

/** Frame bytes in front of the data to be segmented; 0 when this is no tunnel that we know, or not what the header says. */
export function tunnelHeaders(storage: BaseStorage, slot: number): number {
  const { bytes } = storage;
  const at = storage.at[slot];
  const header = at - virtio.HEADER_BYTES;
  const start = virtio.csumStart(bytes, header);
  const end = IP + ipv4.totalLength(bytes, at + IP);
  const outer = IP + ipv4.headerLength(bytes, at + IP);
  const protocol = innerProtocol(storage, slot);
  const isTcp = protocol === ipv4.PROTOCOL_TCP;
  const type = virtio.gsoType(bytes, header) & ~virtio.GSO_ECN;
  if (type !== virtio.GSO_TCPV4 && type !== virtio.GSO_TCPV6 && type !== virtio.GSO_UDP_L4)
    return 0;
  if (end > storage.length[slot] || start >= end || (start & 1) !== 0) return 0;
  if (ipv4.isFragment(bytes, at + IP)) return 0;
  if (virtio.csumOffset(bytes, header) !== (isTcp ? tcp.CHECKSUM : udp.CHECKSUM)) return 0;
  const l4 = at + start;
  if (!(isTcp ? tcp.check(bytes, l4, end - start) : udp.check(bytes, l4, end - start))) return 0;
  const inner = innerIp(storage, slot);
  if (inner === 0) return 0;
  let flags = 0;
  switch (ipv4.protocol(bytes, at + IP)) {
    case PROTOCOL_IPV4:
    case PROTOCOL_IPV6:
      if (inner !== outer) return 0;
      break;
    case PROTOCOL_GRE:
      flags = read16(bytes, at + outer);
      if ((flags & ~(GRE.hasChecksum | GRE.hasKey)) !== 0) return 0;
      if (inner < outer + greBytes(flags)) return 0;
      break;
    case ipv4.PROTOCOL_UDP:
      if (inner < outer + udp.HEADER_BYTES) return 0;
      if (udp.length(bytes, at + outer) !== end - outer) return 0;
      break;
    default:
      return 0;
  }
  return start + (isTcp ? tcp.headerLength(bytes, l4) : udp.HEADER_BYTES);
}

/** Bytes of a GRE header: checksum and key take four each. */
function greBytes(flags: number): number {
  const checksumBytes = (flags & GRE.hasChecksum) !== 0 ? 4 : 0;
  return GRE.bytes + checksumBytes + ((flags & GRE.hasKey) !== 0 ? 4 : 0);
}

/**
 * Finishes one segment, the `index`th: all lengths, identifications and checksums, inside and then outside. The frame is at `at` and ends at
 * `end`; the inner IP header is at `ip` (`innerIp`) and TCP or UDP at `l4`, whose own fields but for the checksum are finished.
 */
export function finishTunnelled(
  storage: BaseStorage,
  at: number,
  ip: number,
  l4: number,
  end: number,
  index: number,
  isTcp: boolean,
): void {
  finishInner(storage, ip, l4, end, index, isTcp);
  finishOuter(storage, at + IP, end, index);
}

/** Lengths, identification and checksums of the inner headers; TCP or UDP is at `l4` and reaches to `end`. */
function finishInner(
  storage: BaseStorage,
  ip: number,
  l4: number,
  end: number,
  index: number,
  isTcp: boolean,
): void {
  const { bytes } = storage;
  const length = end - l4;
  const protocol = isTcp ? ipv4.PROTOCOL_TCP : ipv4.PROTOCOL_UDP;
  let addresses: number;
  if (bytes[ip] >>> 4 === 4) {
    finishIpv4(bytes, ip, end, index);
    addresses = checksum.sumBytes(bytes, ip + ipv4.SOURCE, 8);
  } else {
    write16(bytes, ip + IPV6.payloadLength, end - ip - IPV6.bytes);
    addresses = checksum.sumBytes(bytes, ip + IPV6.source, IPV6.bothAddresses);
  }
  const pseudo = checksum.fold(addresses + (protocol << 8) + swap16(length));
  finishSum(storage, l4, l4 + (isTcp ? tcp.CHECKSUM : udp.CHECKSUM), end, pseudo, !isTcp);
}

/** The same around it, once all inside is finished. */
function finishOuter(storage: BaseStorage, ip: number, end: number, index: number): void {
  const { bytes } = storage;
  finishIpv4(bytes, ip, end, index);
  const l4 = ip + ipv4.headerLength(bytes, ip);
  const protocol = ipv4.protocol(bytes, ip);
  if (protocol === PROTOCOL_GRE && (read16(bytes, l4) & GRE.hasChecksum) !== 0)
    finishSum(storage, l4, l4 + GRE.checksum, end, 0, false);
  if (protocol !== ipv4.PROTOCOL_UDP) return;
  udp.setLength(bytes, l4, end - l4);
  // 0: its sender makes none.
  if (checksum.get(bytes, l4 + udp.CHECKSUM) !== 0)
    udp.writeChecksum(bytes, l4, ipv4.source(bytes, ip), ipv4.destination(bytes, ip));
}

function finishIpv4(bytes: Uint8Array, ip: number, end: number, index: number): void {
  ipv4.setTotalLength(bytes, ip, end - ip);
  ipv4.setIdentification(bytes, ip, ipv4.identification(bytes, ip) + index);
  ipv4.writeChecksum(bytes, ip);
}

/** Headers are of even lengths, so `from` lies on a word or on its second half. */
function finishSum(
  storage: BaseStorage,
  from: number,
  field: number,
  end: number,
  pseudo: number,
  isUdp: boolean,
): void {
  const { bytes, words } = storage;
  checksum.put(bytes, field, 0);
  const odd = from & 2;
  const first = checksum.add(pseudo, checksum.sumBytes(bytes, from, odd));
  const rest = checksum.sumWords(words, (from + odd) >> 2, end - from - odd);
  const sum = checksum.finish(checksum.add(first, rest));
  checksum.put(bytes, field, sum === 0 && isUdp ? 0xffff : sum);
}
