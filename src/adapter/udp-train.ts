/**
 * Datagrams of one UDP flow that leave in a row, coupled into one frame that the kernel or the interface cuts again (UDP segmentation
 * offload, VIRTIO_NET_HDR_GSO_UDP_L4): the kernel's way through its stack costs far more than the copy, and is then gone once.
 *
 * Coupled is what comes out of the cut as it went in (but for the identification of what is never fragmented): the same headers, as much
 * data each, the last one perhaps less, and a right checksum, since the kernel writes it anew. The rules are those of the kernel's own UDP
 * receive offload. Nothing is waited for: a train is what one turn has.
 */
import type { Native } from '../native.ts';
import { type BaseStorage, HEADER_BYTES } from '../storage/base-storage.ts';
import { swap16 } from '../wire/bytes.ts';
import * as checksum from '../wire/checksum.ts';
import * as ethernet from '../wire/ethernet.ts';
import * as ipv4 from '../wire/ipv4.ts';
import * as udp from '../wire/udp.ts';
import * as virtio from '../wire/virtio-net-header.ts';
import { TrainSums } from './train-sums.ts';

const IP = ethernet.HEADER_BYTES;
const UDP = IP + ipv4.MIN_HEADER_BYTES;
/** Frame bytes in front of the data of each datagram of a train. */
export const TRAIN_HEADERS = UDP + udp.HEADER_BYTES;
/** Most datagrams in a train: Linux's UDP_MAX_SEGMENTS. */
export const LONGEST_TRAIN = 64;

/** As this machine reads them: version 4 and no options; what no fragment has; "don't fragment". */
const PLAIN_HEADER = 0x45;
const ANY_FRAGMENT = swap16(ipv4.MORE_FRAGMENTS | ipv4.FRAGMENT_OFFSET);
const DONT_FRAGMENT = swap16(ipv4.DONT_FRAGMENT);

export class UdpTrain {
  /** Data bytes of each datagram but the last. */
  size = 0;
  private readonly storage: BaseStorage;
  private readonly sums: TrainSums;
  /** Slot of the first datagram, -1: none that another may be coupled to. */
  private head = -1;
  private count = 0;
  private headIntact = false;

  constructor(native: Native, storage: BaseStorage) {
    this.storage = storage;
    this.sums = new TrainSums(native, storage, UDP, LONGEST_TRAIN);
  }

  /** Nothing more is coupled to what there is, and the slots may be filled anew. */
  end(): void {
    this.head = -1;
    this.sums.forget();
  }

  /** The datagram in `slot`, its frame ready to leave, is the first of the next train. */
  begin(slot: number): void {
    const { storage } = this;
    const { bytes, halves, words } = storage;
    const at = storage.at[slot];
    const ip = (at + IP) >> 2;
    this.head = -1;
    if (storage.length[slot] <= TRAIN_HEADERS || (words[ip] & 0xff) !== PLAIN_HEADER) return;
    if (bytes[at + IP + ipv4.PROTOCOL] !== ipv4.PROTOCOL_UDP) return;
    if (((words[ip + 1] >>> 16) & ANY_FRAGMENT) !== 0) return;
    if (halves[(at + ethernet.ETHER_TYPE) >> 1] !== swap16(ethernet.TYPE_IPV4)) return;
    if (!this.isWhole(slot)) return;
    this.head = slot;
    this.size = storage.length[slot] - TRAIN_HEADERS;
    this.count = 1;
    this.headIntact = false;
  }

  /** Couples the datagram in `slot` to the train if it may be; true when it was. */
  couple(slot: number): boolean {
    const { head, storage } = this;
    if (head < 0) return false;
    const { halves, words, at: ats } = storage;
    const a = ats[head];
    const b = ats[slot];
    const data = storage.length[slot] - TRAIN_HEADERS;
    if (data <= 0 || data > this.size || this.count === LONGEST_TRAIN) return false;
    // Both MAC addresses and the EtherType.
    if (halves[a >> 1] !== halves[b >> 1] || words[(a + 2) >> 2] !== words[(b + 2) >> 2])
      return false;
    if (words[(a + 6) >> 2] !== words[(b + 6) >> 2]) return false;
    if (words[(a + 10) >> 2] !== words[(b + 10) >> 2]) return false;
    const x = (a + IP) >> 2;
    const y = (b + IP) >> 2;
    // Version, header length and type of service; time to live and protocol; addresses; ports.
    if (((words[x] ^ words[y]) & 0xffff) !== 0 || ((words[x + 2] ^ words[y + 2]) & 0xffff) !== 0)
      return false;
    if (words[x + 3] !== words[y + 3] || words[x + 4] !== words[y + 4]) return false;
    if (words[x + 5] !== words[y + 5]) return false;
    if (!this.isNext(words[x + 1], words[y + 1]) || !this.isWhole(slot)) return false;
    this.headIntact = this.headIntact || this.isIntact(head);
    if (!this.headIntact) {
      this.head = -1;
      return false;
    }
    if (!this.isIntact(slot)) return false;
    this.count++;
    // Only the last one may be shorter.
    if (data < this.size) this.head = -1;
    return true;
  }

  /**
   * The same flags, and the identification that a cut will give it; what is never fragmented has none (RFC 6864 §4.1). Both are the second
   * words of IP headers.
   */
  private isNext(first: number, next: number): boolean {
    if (first >>> 16 !== next >>> 16) return false;
    if (((first >>> 16) & DONT_FRAGMENT) !== 0) return true;
    return swap16(next & 0xffff) === ((swap16(first & 0xffff) + this.count) & 0xffff);
  }

  /** IP's and UDP's lengths are the frame's, and it is not to be segmented itself. */
  private isWhole(slot: number): boolean {
    const { halves, at: ats, length } = this.storage;
    const at = ats[slot];
    if (halves[(at - HEADER_BYTES) >> 1] >>> 8 !== virtio.GSO_NONE) return false;
    if (halves[(at + IP + ipv4.TOTAL_LENGTH) >> 1] !== swap16(length[slot] - IP)) return false;
    return halves[(at + UDP + udp.LENGTH) >> 1] === swap16(length[slot] - UDP);
  }

  /** Its checksum is to be made, or is there and right: a wrong one must arrive as a wrong one. */
  private isIntact(slot: number): boolean {
    const { bytes, halves, words, at: ats, length } = this.storage;
    const at = ats[slot];
    if ((bytes[at - HEADER_BYTES] & virtio.NEEDS_CSUM) !== 0) return true;
    if (halves[(at + UDP + udp.CHECKSUM) >> 1] === 0) return false;
    const ip = (at + IP) >> 2;
    const total = length[slot] - UDP;
    const pseudo = checksum.pseudoHeader(words[ip + 3], words[ip + 4], ipv4.PROTOCOL_UDP, total);
    return checksum.add(pseudo, this.sums.of(slot)) === 0xffff;
  }
}

/**
 * Makes the headers in front of a train's data those of one long datagram that is to be cut every `size` bytes. `halves` is the ring; the
 * virtio-net header stands at byte `header` of it, the frame of `length` bytes at `frame`.
 */
export function writeTrainHeaders(
  halves: Uint16Array,
  header: number,
  frame: number,
  length: number,
  size: number,
): void {
  const half = header >> 1;
  halves[half] = virtio.NEEDS_CSUM | (virtio.GSO_UDP_L4 << 8);
  halves[half + 1] = TRAIN_HEADERS;
  halves[half + 2] = size;
  halves[half + 3] = UDP;
  halves[half + 4] = udp.CHECKSUM;
  const ip = (frame + IP) >> 1;
  const total = swap16(length - IP);
  const sum = ip + (ipv4.CHECKSUM >> 1);
  halves[sum] = checksum.update(halves[sum], halves[ip + (ipv4.TOTAL_LENGTH >> 1)], total);
  halves[ip + (ipv4.TOTAL_LENGTH >> 1)] = total;
  const source = ip + (ipv4.SOURCE >> 1);
  const destination = ip + (ipv4.DESTINATION >> 1);
  halves[(frame + UDP + udp.LENGTH) >> 1] = swap16(length - UDP);
  halves[(frame + UDP + udp.CHECKSUM) >> 1] = checksum.pseudoHeader(
    halves[source] | (halves[source + 1] << 16),
    halves[destination] | (halves[destination + 1] << 16),
    ipv4.PROTOCOL_UDP,
    length - UDP,
  );
}
