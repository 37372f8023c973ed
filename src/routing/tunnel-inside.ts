/**
 * Where inside of a tunnel the datagram is that was merged: the inner IP header, and the TCP or UDP behind it. The kernel merges at one place
 * only, and there the lengths reach to the end of all; tunnels in tunnels, and what stands between the two headers, need not be known.
 *
 * Inner headers need not lie on words, so they are read by bytes. Nothing is allocated.
 */
import type { BaseStorage } from '../storage/base-storage.ts';
import { read16, swap16 } from '../wire/bytes.ts';
import * as checksum from '../wire/checksum.ts';
import * as ethernet from '../wire/ethernet.ts';
import * as ipv4 from '../wire/ipv4.ts';
import * as tcp from '../wire/tcp.ts';
import * as udp from '../wire/udp.ts';
import * as virtio from '../wire/virtio-net-header.ts';

const IP = ethernet.HEADER_BYTES;

export const PROTOCOL_IPV4 = 4;
export const PROTOCOL_IPV6 = 41;
export const PROTOCOL_GRE = 47;

export const IPV6 = {
  bytes: 40,
  payloadLength: 4,
  nextHeader: 6,
  source: 8,
  bothAddresses: 32,
} as const;
/** What may stand behind an IPv6 header (RFC 8200 §4.3, §4.4, §4.6) of what the kernel merges: a byte each for the next one and the length. */
const EXTENSIONS: readonly number[] = [0, 43, 60];

/** Most bytes between the two IP headers: UDP, Geneve with all options (RFC 8926 §3.4), Ethernet with a VLAN tag. */
const MOST_BETWEEN = 8 + 8 + 252 + 18;

/** What is inside, by the type of segmentation: TCP or UDP. */
export function innerProtocol(storage: BaseStorage, slot: number): number {
  const type = virtio.gsoType(storage.bytes, storage.at[slot] - virtio.HEADER_BYTES);
  return (type & ~virtio.GSO_ECN) === virtio.GSO_UDP_L4 ? ipv4.PROTOCOL_UDP : ipv4.PROTOCOL_TCP;
}

/** Where in the frame the IP header is behind which the inner TCP or UDP begins, at `csum_start`; 0: there is none. */
export function innerIp(storage: BaseStorage, slot: number): number {
  const header = storage.at[slot] - virtio.HEADER_BYTES;
  return search(storage, slot, virtio.csumStart(storage.bytes, header));
}

/**
 * What the kernel has strung together as a list (`rx-gro-list`) has been verified: its virtio-net header says no place of a checksum, though
 * what is to be cut may be inside of a tunnel. Where it is, that place is written. For a frame without NEEDS_CSUM whose IPv4 header has been
 * checked.
 */
export function findInside(storage: BaseStorage, slot: number): void {
  const { bytes } = storage;
  const at = storage.at[slot];
  const outer = ipv4.protocol(bytes, at + IP);
  const protocol = innerProtocol(storage, slot);
  if (
    ipv4.isFragment(bytes, at + IP) ||
    IP + ipv4.totalLength(bytes, at + IP) > storage.length[slot]
  )
    return;
  if (outer === ipv4.PROTOCOL_UDP) {
    if (protocol === outer && isFirstOfList(storage, slot)) return;
  } else if (outer !== PROTOCOL_IPV4 && outer !== PROTOCOL_IPV6 && outer !== PROTOCOL_GRE) return;
  const inner = search(storage, slot, 0);
  if (inner === 0) return;
  const header = at - virtio.HEADER_BYTES;
  const end = at + IP + ipv4.totalLength(bytes, at + IP);
  virtio.setFlags(bytes, header, virtio.NEEDS_CSUM);
  virtio.setCsumStart(bytes, header, behind(bytes, at + inner, end, protocol) - at);
  const isTcp = protocol === ipv4.PROTOCOL_TCP;
  virtio.setCsumOffset(bytes, header, isTcp ? tcp.CHECKSUM : udp.CHECKSUM);
}

/** True when the outer UDP itself was merged: then its checksum is still that of the first datagram, right or yet to be completed. */
function isFirstOfList(storage: BaseStorage, slot: number): boolean {
  const { bytes } = storage;
  const at = storage.at[slot];
  const ip = at + IP;
  const l4 = ip + ipv4.headerLength(bytes, ip);
  const length = udp.HEADER_BYTES + virtio.gsoSize(bytes, at - virtio.HEADER_BYTES);
  if (l4 + length > ip + ipv4.totalLength(bytes, ip)) return false;
  const field = checksum.get(bytes, l4 + udp.CHECKSUM);
  const pseudo = checksum.pseudoHeader(
    ipv4.source(bytes, ip),
    ipv4.destination(bytes, ip),
    ipv4.PROTOCOL_UDP,
    length,
  );
  if (field === 0) return false; // the kernel merges none of these
  if (field === pseudo) return true;
  // The length in the header is that of all by now.
  const ports = checksum.sumBytes(bytes, l4, udp.LENGTH);
  const rest = checksum.sumBytes(bytes, l4 + udp.CHECKSUM, length - udp.CHECKSUM);
  const sum = checksum.add(checksum.add(ports, rest), checksum.add(pseudo, swap16(length)));
  return sum === 0xffff;
}

/**
 * Where in the frame the outermost inner IP header is whose length reaches to the end of all and behind which TCP or UDP begins, at `start` of the
 * frame unless that is 0. 0: there is none.
 */
function search(storage: BaseStorage, slot: number, start: number): number {
  const { bytes } = storage;
  const at = storage.at[slot];
  const protocol = innerProtocol(storage, slot);
  const end = IP + ipv4.totalLength(bytes, at + IP);
  const first = IP + ipv4.headerLength(bytes, at + IP);
  const last = Math.min(first + MOST_BETWEEN, end - ipv4.MIN_HEADER_BYTES);
  for (let inner = first; inner <= last; inner += 2) {
    const l4 = behind(bytes, at + inner, at + end, protocol);
    if (l4 !== 0 && (start === 0 || l4 === at + start)) return inner;
  }
  return 0;
}

/** Where `protocol` begins behind the IP header at `ip` and its extensions, if that is one and its datagram reaches to `end`; or 0. */
function behind(bytes: Uint8Array, ip: number, end: number, protocol: number): number {
  if (bytes[ip] >>> 4 === 4) {
    const right =
      ipv4.check(bytes, ip, end - ip) &&
      ipv4.totalLength(bytes, ip) === end - ip &&
      ipv4.protocol(bytes, ip) === protocol &&
      !ipv4.isFragment(bytes, ip);
    return right ? ip + ipv4.headerLength(bytes, ip) : 0;
  }
  let l4 = ip + IPV6.bytes;
  if (bytes[ip] >>> 4 !== 6 || l4 > end || read16(bytes, ip + IPV6.payloadLength) !== end - l4)
    return 0;
  let next = bytes[ip + IPV6.nextHeader];
  while (next !== protocol) {
    if (!EXTENSIONS.includes(next) || l4 + 8 > end) return 0;
    next = bytes[l4];
    l4 += (bytes[l4 + 1] + 1) << 3;
  }
  return l4 < end ? l4 : 0;
}
