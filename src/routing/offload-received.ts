/**
 * Offload headers of frames from an adapter. The kernel wrote them, so they are believed where a guest's are not
 * (DATA_VALID), and may say more (what the kernel merged on receipt, what a sender on this host left unfinished);
 * they become canonical all the same, for guests to read.
 */
import { CELL } from '../counters.ts';
import type { BaseStorage } from '../storage/base-storage.ts';
import * as checksum from '../wire/checksum.ts';
import * as ethernet from '../wire/ethernet.ts';
import * as ipv4 from '../wire/ipv4.ts';
import * as sctp from '../wire/sctp.ts';
import * as tcp from '../wire/tcp.ts';
import * as udp from '../wire/udp.ts';
import * as virtio from '../wire/virtio-net-header.ts';
import { checksumOwner, clearOffload, dataLength, headersLength, writeOffload } from './offload.ts';
import { isTunnelled, tunnelHeaders } from './tunnel.ts';
import { findInside } from './tunnel-inside.ts';

const BAD_CHECKSUM_OFFLOAD = CELL.badChecksumOffload;
const BAD_SEGMENTATION = CELL.badSegmentation;

const IP = ethernet.HEADER_BYTES;

/**
 * Most segments of one datagram. A segment may be of any size, as what was merged came so from the wire (keystrokes, say), but not of any
 * number: 64 KiB in segments of the least MSS that Linux believes a peer (TCP_MIN_SND_MSS), which is far more than is ever merged.
 */
const MAX_RECEIVED_SEGMENTS = Math.ceil(ipv4.MAX_TOTAL_BYTES / 48);

/**
 * Makes the offload header of a frame from an adapter canonical. Returns 0, or the CELL index of the reason to drop the
 * datagram. To be called when flags or gso_type are not zero, on a datagram whose IPv4 header has been checked.
 *
 * DATA_VALID stays; `remainingWork` keeps it from guests that did not negotiate GUEST_CSUM. GSO_UDP_L4 stays for `segment`, as no guest is
 * offered it.
 */
export function checkReceivedOffload(storage: BaseStorage, slot: number): number {
  const bytes = storage.bytes;
  const at = storage.at[slot];
  const header = at - virtio.HEADER_BYTES;
  const flags = virtio.flags(bytes, header);
  const gsoType = virtio.gsoType(bytes, header);
  if (gsoType !== virtio.GSO_NONE) return checkSegmentation(storage, slot, gsoType);
  if ((flags & virtio.NEEDS_CSUM) === 0) {
    clearOffload(storage, slot);
    bytes[header + virtio.FLAGS] = flags & virtio.DATA_VALID;
    return 0;
  }
  const start = virtio.csumStart(bytes, header);
  const offset = virtio.csumOffset(bytes, header);
  const protocol = checksumOwner(storage, slot, start, offset);
  if (protocol === 0) return completeOther(storage, slot, start, offset);
  writeOffload(storage, slot, protocol, virtio.GSO_NONE, 0);
  return 0;
}

/**
 * True when the header in front of a slot's frame is what `checkOffload` or `checkReceivedOffload` leave: whoever relies on it reads and
 * writes inside the frame. For what comes from another turn worker; with flags and type zero there is nothing to rely on.
 */
export function isCanonical(storage: BaseStorage, slot: number): boolean {
  const { bytes, halves, words } = storage;
  const header = storage.at[slot] - virtio.HEADER_BYTES;
  const flagsAndType = halves[header >> 1];
  if (flagsAndType === 0) return true;
  const gsoType = flagsAndType >>> 8;
  if ((flagsAndType & virtio.NEEDS_CSUM) === 0) return gsoType === virtio.GSO_NONE;
  const place = words[(header + virtio.CSUM_START) >> 2];
  const protocol = checksumOwner(storage, slot, place & 0xffff, place >>> 16);
  if (protocol === 0) return false;
  if (gsoType === virtio.GSO_NONE) return true;
  const size = virtio.gsoSize(bytes, header);
  const data = dataLength(storage, slot, protocol);
  return (
    virtio.hdrLen(bytes, header) === headersLength(storage, slot, protocol) &&
    data > 0 &&
    data <= size * MAX_RECEIVED_SEGMENTS
  );
}

/** Merged datagrams have no use for their first one's checksum: it counts as unfinished, whatever the flags say. */
function checkSegmentation(storage: BaseStorage, slot: number, gsoType: number): number {
  if ((storage.bytes[storage.at[slot] - virtio.HEADER_BYTES] & virtio.NEEDS_CSUM) === 0)
    findInside(storage, slot);
  if (isTunnelled(storage, slot)) return checkTunnel(storage, slot);
  const bytes = storage.bytes;
  const at = storage.at[slot];
  const ip = at + IP;
  const isTcp = (gsoType & ~virtio.GSO_ECN) === virtio.GSO_TCPV4;
  if (!isTcp && gsoType !== virtio.GSO_UDP_L4) return BAD_SEGMENTATION;
  const protocol = checksumOwner(
    storage,
    slot,
    IP + ipv4.headerLength(bytes, ip),
    isTcp ? tcp.CHECKSUM : udp.CHECKSUM,
  );
  if (protocol !== (isTcp ? ipv4.PROTOCOL_TCP : ipv4.PROTOCOL_UDP)) return BAD_SEGMENTATION;
  const size = virtio.gsoSize(bytes, at - virtio.HEADER_BYTES);
  const data = dataLength(storage, slot, protocol);
  if (data === 0 || data > size * MAX_RECEIVED_SEGMENTS) return BAD_SEGMENTATION;
  writeOffload(storage, slot, protocol, gsoType, size);
  return 0;
}

/** What is merged inside of a tunnel stays as it is, but for `hdr_len`, which `segment` relies on: no guest gets it uncut. */
function checkTunnel(storage: BaseStorage, slot: number): number {
  const { bytes } = storage;
  const at = storage.at[slot];
  const header = at - virtio.HEADER_BYTES;
  const headers = tunnelHeaders(storage, slot);
  const data = IP + ipv4.totalLength(bytes, at + IP) - headers;
  const size = virtio.gsoSize(bytes, header);
  if (headers === 0 || data <= 0 || data > size * MAX_RECEIVED_SEGMENTS) return BAD_SEGMENTATION;
  storage.length[slot] = headers + data;
  virtio.setFlags(bytes, header, virtio.NEEDS_CSUM);
  virtio.setHdrLen(bytes, header, headers);
  virtio.setNumBuffers(bytes, header, 0);
  return 0;
}

/**
 * A sender on this host may leave a checksum further inside to be finished, in a tunnelled datagram say. No guest
 * expects that, so it is done at once. SCTP's (RFC 9260 §6.8) is no internet checksum, and not every guest takes it unfinished.
 */
function completeOther(storage: BaseStorage, slot: number, start: number, offset: number): number {
  const bytes = storage.bytes;
  const at = storage.at[slot];
  const ip = at + IP;
  if (storage.length[slot] < IP + ipv4.MIN_HEADER_BYTES) return BAD_CHECKSUM_OFFLOAD;
  const end = IP + ipv4.totalLength(bytes, ip);
  if (
    ethernet.etherType(bytes, at) !== ethernet.TYPE_IPV4 ||
    ipv4.isFragment(bytes, ip) ||
    start < IP + ipv4.headerLength(bytes, ip) ||
    start + offset + 2 > end ||
    end > storage.length[slot]
  ) {
    return BAD_CHECKSUM_OFFLOAD;
  }
  if (ipv4.protocol(bytes, ip) === sctp.PROTOCOL) {
    const whole = start === IP + ipv4.headerLength(bytes, ip) && offset === sctp.CHECKSUM;
    if (!whole || end - start < sctp.HEADER_BYTES) return BAD_CHECKSUM_OFFLOAD;
    sctp.writeChecksum(bytes, at + start, end - start);
  } else {
    const value = checksum.finish(checksum.sumBytes(bytes, at + start, end - start));
    // Most such are UDP or TCP inside; 0xffff is right for both, 0 is not for UDP.
    checksum.put(bytes, at + start + offset, value === 0 ? 0xffff : value);
  }
  storage.length[slot] = end;
  clearOffload(storage, slot);
  return 0;
}
