/**
 * ICMP errors by which the base, as the router it is, tells a sender what became of a datagram.
 *
 *      in use:  3/0 network unreachable    3/1 host unreachable    3/4 fragmentation needed (rest: next-hop MTU)
 *               3/2 protocol, 3/3 port unreachable    11/0 time to live exceeded
 *
 * How often is the caller's matter (token-buckets.ts).
 */
import { BASE } from '../../storage/outbox.ts';
import type { BaseStorage } from '../../storage/base-storage.ts';
import * as checksum from '../../wire/checksum.ts';
import * as ethernet from '../../wire/ethernet.ts';
import * as icmp from '../../wire/icmp.ts';
import * as ipv4Address from '../../wire/ipv4-address.ts';
import * as ipv4 from '../../wire/ipv4.ts';
import * as mac from '../../wire/mac.ts';
import * as virtio from '../../wire/virtio-net-header.ts';
import { UNDECIDED } from '../verdict.ts';

/** As much of the original as fits, but no error longer than this (RFC 1812 §4.3.2.3), nor than the way back takes. */
const MAX_ERROR_BYTES = 576;
/** Every wire takes this much (RFC 791); an interface may claim otherwise. */
const LEAST_MTU = 68;
const HEADERS_BYTES = ipv4.MIN_HEADER_BYTES + icmp.HEADER_BYTES;
/** Precedence 6, internetwork control (RFC 1812 §4.3.2.5). */
const INTERNETWORK_CONTROL = 0xc0;

/**
 * True when an error may be sent about the datagram, whose IPv4 header has been checked. Never about an ICMP error, a
 * fragment other than the first, what was sent to many or comes from no single host (RFC 1812 §4.3.2.7). A subnet's own
 * broadcast address the caller must know.
 */
export function mayReport(storage: BaseStorage, slot: number): boolean {
  const bytes = storage.bytes;
  const at = storage.at[slot];
  if (mac.isGroup(bytes, at + ethernet.DESTINATION) || mac.isGroup(bytes, at + ethernet.SOURCE)) {
    return false;
  }
  const ip = at + ethernet.HEADER_BYTES;
  const destination = ipv4.destination(bytes, ip);
  if (
    !ipv4Address.isHost(ipv4.source(bytes, ip)) ||
    ipv4Address.isMulticast(destination) ||
    destination === ipv4Address.BROADCAST_KEY ||
    (ipv4.fragment(bytes, ip) & ipv4.FRAGMENT_OFFSET) !== 0
  ) {
    return false;
  }
  if (ipv4.protocol(bytes, ip) !== ipv4.PROTOCOL_ICMP) return true;
  const header = ipv4.headerLength(bytes, ip);
  // One without its type byte might be an error.
  return ipv4.totalLength(bytes, ip) > header && icmp.isQuery(icmp.type(bytes, ip + header));
}

/**
 * Appends an ICMP error about the datagram in `slot`, of which `mayReport` is true, from `source` (a key) at `baseMac` to its sender; `rest`
 * is the second word of the ICMP header, `mtu` what the way to the sender takes. To be called before the datagram is changed, as it quotes it
 * as received. Returns the new slot, `from` the base and `to` undecided, or -1 when storage is full.
 */
export function icmpError(
  storage: BaseStorage,
  slot: number,
  type: number,
  code: number,
  rest: number,
  source: number,
  baseMac: Uint8Array,
  mtu: number,
): number {
  const bytes = storage.bytes;
  const original = storage.at[slot];
  const originalIp = original + ethernet.HEADER_BYTES;
  const most = Math.min(MAX_ERROR_BYTES, Math.max(mtu, LEAST_MTU)) - HEADERS_BYTES;
  const quoted = Math.min(ipv4.totalLength(bytes, originalIp), most);
  const total = HEADERS_BYTES + quoted;
  const error = storage.take(BASE, ethernet.HEADER_BYTES + total);
  if (error < 0) return -1;
  storage.to[error] = UNDECIDED;
  const at = storage.at[error];
  virtio.clear(storage.halves, storage.words, at);

  mac.copy(bytes, at + ethernet.DESTINATION, bytes, original + ethernet.SOURCE);
  mac.copy(bytes, at + ethernet.SOURCE, baseMac, 0);
  ethernet.setEtherType(bytes, at, ethernet.TYPE_IPV4);

  const ip = at + ethernet.HEADER_BYTES;
  const sender = ipv4.source(bytes, originalIp);
  writeIpHeader(bytes, ip, total, source, sender);

  const l4 = ip + ipv4.MIN_HEADER_BYTES;
  icmp.setType(bytes, l4, type);
  icmp.setCode(bytes, l4, code);
  icmp.setRest(bytes, l4, rest);
  bytes.copyWithin(l4 + icmp.HEADER_BYTES, originalIp, originalIp + quoted);
  writeIcmpChecksum(storage, l4, icmp.HEADER_BYTES + quoted);
  return error;
}

/**
 * Has the ICMP error in `slot`, one of the base's own that is too long for a way of `mtu` bytes, quote no more than it takes. False, and nothing changed, where the
 * slot has something else.
 */
export function shortenError(storage: BaseStorage, slot: number, mtu: number): boolean {
  const { bytes } = storage;
  const ip = storage.at[slot] + ethernet.HEADER_BYTES;
  const l4 = ip + ipv4.MIN_HEADER_BYTES;
  const most = Math.max(mtu, LEAST_MTU);
  if (ipv4.protocol(bytes, ip) !== ipv4.PROTOCOL_ICMP || icmp.isQuery(icmp.type(bytes, l4)))
    return false;
  storage.length[slot] = ethernet.HEADER_BYTES + most;
  writeIpHeader(bytes, ip, most, ipv4.source(bytes, ip), ipv4.destination(bytes, ip));
  writeIcmpChecksum(storage, l4, most - ipv4.MIN_HEADER_BYTES);
  return true;
}

function writeIpHeader(
  bytes: Uint8Array,
  ip: number,
  total: number,
  source: number,
  destination: number,
): void {
  const { PROTOCOL_ICMP } = ipv4;
  ipv4.writeHeader(bytes, ip, INTERNETWORK_CONTROL, total, PROTOCOL_ICMP, source, destination);
}

/** Over `length` bytes of ICMP header and what follows. */
function writeIcmpChecksum(storage: BaseStorage, l4: number, length: number): void {
  const field = (l4 + icmp.CHECKSUM) >> 1;
  storage.halves[field] = 0;
  storage.halves[field] = checksum.finish(checksum.sumWords(storage.words, l4 >> 2, length));
}
