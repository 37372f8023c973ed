/**
 * Offloads: what the virtio-net header in front of a frame asks for, checked once and then carried out or passed on.
 *
 * The header comes from a guest. After `checkOffload` it is *canonical*: every field that asks for nothing is zero, and
 * what it asks for is possible, so it may go to the kernel (PACKET_VNET_HDR), which refuses a whole send for an
 * impossible header, and to other guests, which trust it.
 *
 * Everything works on the base's copy in a slot of base storage: virtio-net header at at-12, frame at `at`. IP and TCP
 * headers are multiples of 4 bytes long, so the L4 header lies on a word there. Nothing allocates.
 */
import { CELL } from '../counters.ts';
import type { BaseStorage } from '../storage/base-storage.ts';
import { swap16 } from '../wire/bytes.ts';
import * as checksum from '../wire/checksum.ts';
import * as ethernet from '../wire/ethernet.ts';
import * as ipv4 from '../wire/ipv4.ts';
import * as tcp from '../wire/tcp.ts';
import * as udp from '../wire/udp.ts';
import * as virtio from '../wire/virtio-net-header.ts';
import { isTunnelled } from './tunnel.ts';

const BAD_CHECKSUM_OFFLOAD = CELL.badChecksumOffload;
const BAD_SEGMENTATION = CELL.badSegmentation;

/**
 * Smallest gso_size: Linux's own TCP_MIN_GSO_SIZE. The least MSS that it believes a peer, 48 bytes, has room for 40 bytes of options, and
 * what these take is not data. The kernel would take 1 from a guest and make one frame of each byte.
 */
export const MIN_GSO_SIZE = 8;

/**
 * Most segments of one datagram: bounds what one descriptor chain can cost. Linux fills 64 KiB however small the segments are that its peer
 * asks for: with 128 bytes each these suffice.
 */
export const MAX_SEGMENTS = 512;
/**
 * Most pieces of one datagram that is too large for a wire. A host with an MTU of 576 and every header option in use (20 + 40 bytes IP, 20 + 40
 * bytes TCP, so 456 bytes a segment) fills 64 KiB with 144.
 */
export const MAX_PIECES = 160;

/** Largest gso_size: a segment is an IP datagram, too. */
const MAX_GSO_SIZE = ipv4.MAX_TOTAL_BYTES - ipv4.MIN_HEADER_BYTES - tcp.MIN_HEADER_BYTES;

/** Frame bytes in front of the IP header. */
const IP = ethernet.HEADER_BYTES;
/** From a frame's begin to its virtio-net header: flags and gso_type; hdr_len and gso_size; csum_start and csum_offset; num_buffers. */
const FLAGS_AND_TYPE = virtio.FLAGS - virtio.HEADER_BYTES;
const LENGTH_AND_SIZE = virtio.HDR_LEN - virtio.HEADER_BYTES;
const START_AND_OFFSET = virtio.CSUM_START - virtio.HEADER_BYTES;
const BUFFERS = virtio.NUM_BUFFERS - virtio.HEADER_BYTES;
/** Halves as this machine reads them: the EtherType of IPv4; "more fragments" and the fragment offset. */
const ETHER_TYPE_IPV4 = swap16(ethernet.TYPE_IPV4);
const ANY_FRAGMENT = swap16(ipv4.MORE_FRAGMENTS | ipv4.FRAGMENT_OFFSET);

/**
 * Checks the offload header of a frame from a guest and makes it canonical. Returns 0, or the CELL index of the reason
 * to drop the datagram, which then is unchanged.
 *
 * To be called when flags or gso_type are not zero (with both zero `clearOffload` does), on a datagram whose IPv4
 * header has been checked. `acceptCsum`, `acceptTso4` and `acceptEcn` say that the guest negotiated VIRTIO_NET_F_CSUM,
 * HOST_TSO4 and HOST_ECN. IPv6 is not routed, so its segmentation is always impossible.
 *
 * The frame is trimmed to its IP datagram: the kernel and other guests count checksum and segments to the frame's end.
 */
export function checkOffload(
  storage: BaseStorage,
  slot: number,
  acceptCsum: boolean,
  acceptTso4: boolean,
  acceptEcn: boolean,
): number {
  const at = storage.at[slot];
  const flagsAndType = storage.halves[(at + FLAGS_AND_TYPE) >> 1];
  const gsoType = flagsAndType >>> 8;
  // Unknown flags are to be ignored (virtio 1.3 §5.1.6.2.2), and only a device may say DATA_VALID or RSC_INFO.
  if ((flagsAndType & virtio.NEEDS_CSUM) === 0) {
    // A segment's checksum is never complete, so segmentation needs NEEDS_CSUM, too (§5.1.6.2.1).
    if (gsoType !== virtio.GSO_NONE) return BAD_SEGMENTATION;
    clearOffload(storage, slot);
    return 0;
  }

  const place = storage.words[(at + START_AND_OFFSET) >> 2];
  const protocol = checksumOwner(storage, slot, place & 0xffff, place >>> 16);
  if (!acceptCsum || protocol === 0) return BAD_CHECKSUM_OFFLOAD;
  if (gsoType === virtio.GSO_NONE) {
    writeOffload(storage, slot, protocol, virtio.GSO_NONE, 0);
    return 0;
  }

  const size = storage.words[(at + LENGTH_AND_SIZE) >> 2] >>> 16;
  const data = dataLength(storage, slot, protocol);
  if (
    (gsoType & ~virtio.GSO_ECN) !== virtio.GSO_TCPV4 ||
    protocol !== ipv4.PROTOCOL_TCP ||
    !acceptTso4 ||
    ((gsoType & virtio.GSO_ECN) !== 0 && !acceptEcn) ||
    data === 0 ||
    size < MIN_GSO_SIZE ||
    size > MAX_GSO_SIZE ||
    data > size * MAX_SEGMENTS
  ) {
    return BAD_SEGMENTATION;
  }
  writeOffload(storage, slot, protocol, gsoType, size);
  return 0;
}

/**
 * The protocol, TCP or UDP, whose checksum is at `start` + `offset` of the frame; 0 when it is neither's: then
 * the checksum lies outside the datagram, in another header, or in a fragment, where it can't be computed.
 */
export function checksumOwner(
  storage: BaseStorage,
  slot: number,
  start: number,
  offset: number,
): number {
  const { bytes, halves, words } = storage;
  const at = storage.at[slot];
  const length = storage.length[slot];
  if (length < IP + ipv4.MIN_HEADER_BYTES) return 0;
  if (halves[(at + ethernet.ETHER_TYPE) >> 1] !== ETHER_TYPE_IPV4) return 0;
  const ip = at + IP;
  if ((halves[(ip + ipv4.FRAGMENT) >> 1] & ANY_FRAGMENT) !== 0) return 0;
  const first = words[ip >> 2];
  const ipHeader = (first & 0x0f) << 2;
  const total = swap16(first >>> 16);
  const payload = total - ipHeader;
  if (ipHeader < ipv4.MIN_HEADER_BYTES || payload < 0 || IP + total > length) return 0;
  if (start !== IP + ipHeader) return 0;
  const protocol = bytes[ip + ipv4.PROTOCOL];
  const l4 = at + start;
  if (protocol === ipv4.PROTOCOL_TCP) {
    return offset === tcp.CHECKSUM && tcp.check(bytes, l4, payload) ? protocol : 0;
  }
  if (protocol === ipv4.PROTOCOL_UDP) {
    // The sum covers the whole packet, so UDP's own length must say the same.
    const whole = udp.check(bytes, l4, payload) && udp.length(bytes, l4) === payload;
    return offset === udp.CHECKSUM && whole ? protocol : 0;
  }
  return 0;
}

/** Frame bytes in front of the data of a TCP or UDP datagram. */
export function headersLength(storage: BaseStorage, slot: number, protocol: number): number {
  const bytes = storage.bytes;
  const ip = storage.at[slot] + IP;
  const ipHeader = ipv4.headerLength(bytes, ip);
  const l4Header =
    protocol === ipv4.PROTOCOL_TCP ? tcp.headerLength(bytes, ip + ipHeader) : udp.HEADER_BYTES;
  return IP + ipHeader + l4Header;
}

/** Bytes of data that a TCP or UDP datagram carries. */
export function dataLength(storage: BaseStorage, slot: number, protocol: number): number {
  const total = ipv4.totalLength(storage.bytes, storage.at[slot] + IP);
  return IP + total - headersLength(storage, slot, protocol);
}

/**
 * Writes the canonical header of a datagram whose checksum, at the place `checksumOwner` has confirmed, is to be
 * completed and whose data is to go out in segments of `gsoSize` bytes. Trims the frame.
 */
export function writeOffload(
  storage: BaseStorage,
  slot: number,
  protocol: number,
  gsoType: number,
  gsoSize: number,
): void {
  const { halves, words } = storage;
  const at = storage.at[slot];
  const ip = at + IP;
  const first = words[ip >> 2];
  const ipHeader = (first & 0x0f) << 2;
  const total = swap16(first >>> 16);
  const start = IP + ipHeader;
  const offset = protocol === ipv4.PROTOCOL_TCP ? tcp.CHECKSUM : udp.CHECKSUM;
  let type: number = virtio.GSO_NONE;
  let lengthAndSize = 0;
  if (gsoType !== virtio.GSO_NONE) {
    const headers = headersLength(storage, slot, protocol);
    // One segment is no segmentation.
    if (IP + total - headers > gsoSize) {
      type = gsoType;
      // From a driver hdr_len is only a hint (§5.1.6.2.2), but the kernel believes it.
      lengthAndSize = headers | (gsoSize << 16);
    }
  }
  storage.length[slot] = IP + total;
  halves[(at + FLAGS_AND_TYPE) >> 1] = virtio.NEEDS_CSUM | (type << 8);
  words[(at + LENGTH_AND_SIZE) >> 2] = lengthAndSize;
  words[(at + START_AND_OFFSET) >> 2] = start | (offset << 16);
  halves[(at + BUFFERS) >> 1] = 0;
  // The sender has written the pseudo-header's sum; written again, nobody depends on its having done that right.
  writePseudoHeader(storage, ip, at + start + offset, protocol, total - ipHeader);
}

/** Zeroes the virtio-net header of a slot. */
export function clearOffload(storage: BaseStorage, slot: number): void {
  virtio.clear(storage.halves, storage.words, storage.at[slot]);
}

/** True when the datagram's checksum is still to be completed. */
export function needsChecksum(storage: BaseStorage, slot: number): boolean {
  return (storage.bytes[storage.at[slot] - virtio.HEADER_BYTES] & virtio.NEEDS_CSUM) !== 0;
}

/** True when the datagram is still to be segmented. */
export function needsSegmentation(storage: BaseStorage, slot: number): boolean {
  return storage.bytes[storage.at[slot] - virtio.HEADER_BYTES + virtio.GSO_TYPE] !== 0;
}

/** What must be done before a receiver gets a datagram; see `remainingWork`. */
export const AS_IS = 0;
export const COMPLETE = 1;
export const SEGMENT = 2;

/**
 * What the base must do to a checked datagram for a receiver that takes unfinished checksums (`csum`: GUEST_CSUM, or an
 * adapter), TCP segmentation (`tso4`: GUEST_TSO4) and with it ECN (`ecn`: GUEST_ECN): AS_IS, COMPLETE (`completeChecksum`) or
 * SEGMENT (`segment`).
 */
export function remainingWork(
  storage: BaseStorage,
  slot: number,
  csum: boolean,
  tso4: boolean,
  ecn: boolean,
): number {
  const flagsAndType = storage.halves[(storage.at[slot] - virtio.HEADER_BYTES) >> 1];
  if (flagsAndType === 0) return AS_IS;
  const type = flagsAndType >>> 8;
  if (type === virtio.GSO_NONE) return csum ? AS_IS : COMPLETE;
  const taken = type === virtio.GSO_TCPV4 || (type === (virtio.GSO_TCPV4 | virtio.GSO_ECN) && ecn);
  return csum && tso4 && taken && !isTunnelled(storage, slot) ? AS_IS : SEGMENT;
}

/**
 * Bytes of the longest IP datagram that this one is on a wire: of a segment, where it will be segmented. To be
 * compared with an MTU. Offload checked.
 */
export function longestDatagram(storage: BaseStorage, slot: number): number {
  const at = storage.at[slot];
  const header = at - virtio.HEADER_BYTES;
  if (storage.bytes[header + virtio.GSO_TYPE] === virtio.GSO_NONE) return storage.length[slot] - IP;
  return virtio.hdrLen(storage.bytes, header) - IP + virtio.gsoSize(storage.bytes, header);
}

/** Puts the folded sum of the pseudo-header into the checksum field at `field`. */
export function writePseudoHeader(
  storage: BaseStorage,
  ip: number,
  field: number,
  protocol: number,
  length: number,
): void {
  const word = ip >> 2;
  storage.halves[field >> 1] = checksum.pseudoHeader(
    storage.words[word + 3],
    storage.words[word + 4],
    protocol,
    length,
  );
}

/**
 * Completes the checksum that NEEDS_CSUM leaves to us (not of a datagram that is still to be segmented), and clears
 * the header, DATA_VALID too. Offload checked before.
 */
export function completeChecksum(storage: BaseStorage, slot: number): void {
  if (!needsChecksum(storage, slot)) {
    clearOffload(storage, slot);
    return;
  }
  const at = storage.at[slot];
  const place = storage.words[(at + START_AND_OFFSET) >> 2];
  const start = place & 0xffff;
  const offset = place >>> 16;
  finishChecksum(storage, at + start, offset, storage.length[slot] - start);
  clearOffload(storage, slot);
}

/**
 * Turns the pseudo-header's sum at l4 + offset into the checksum over `length` bytes from `l4`, which lies on a word.
 */
export function finishChecksum(
  storage: BaseStorage,
  l4: number,
  offset: number,
  length: number,
): void {
  const value = checksum.finish(checksum.sumWords(storage.words, l4 >> 2, length));
  // UDP's 0 means "no checksum" (RFC 768). For TCP 0 and 0xffff are the same, but 0 is what everybody sends.
  storage.halves[(l4 + offset) >> 1] = value === 0 && offset === udp.CHECKSUM ? 0xffff : value;
}
