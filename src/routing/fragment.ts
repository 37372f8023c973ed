/**
 * Fragmentation of IPv4 datagrams (RFC 791 §2.3 and §3.2, RFC 1812 §4.2.2.7). A fragment can be cut again.
 *
 * Every fragment has a header as long as the original's: an option that only the first one carries is overwritten with "no operation" in
 * the others, as Linux's `ip_options_fragment` does.
 */
import type { BaseStorage } from '../storage/base-storage.ts';
import * as checksum from '../wire/checksum.ts';
import * as ethernet from '../wire/ethernet.ts';
import * as ipv4 from '../wire/ipv4.ts';
import * as virtio from '../wire/virtio-net-header.ts';
import { UNDECIDED } from './verdict.ts';

const IP = ethernet.HEADER_BYTES;

/**
 * Fragments that the IPv4 datagram of `total` bytes, whose header is at `ip`, becomes on a wire that takes `mtu` bytes; 0 when it must
 * not be cut ("don't fragment", or its offsets are at their end) or can't: the wire takes no more than its header.
 */
export function fragmentsOf(bytes: Uint8Array, ip: number, total: number, mtu: number): number {
  const field = ipv4.fragment(bytes, ip);
  if ((field & ipv4.DONT_FRAGMENT) !== 0) return 0;
  const header = ipv4.headerLength(bytes, ip);
  const data = total - header;
  if ((field & ipv4.FRAGMENT_OFFSET) + (data >> 3) > ipv4.FRAGMENT_OFFSET) return 0;
  const size = fragmentData(header, mtu);
  return size > 0 ? Math.ceil(data / size) : 0;
}

/**
 * Appends the fragments of the datagram in `slot`, which may be cut and has no offload left, each complete, `from` copied and `to`
 * undecided. Returns their number; they are the last slots of storage, in order. -1, and appends none, when storage has no room for all.
 * The datagram itself stays as it is.
 */
export function fragment(storage: BaseStorage, slot: number, mtu: number): number {
  const { bytes, words } = storage;
  const at = storage.at[slot];
  const ip = at + IP;
  const header = ipv4.headerLength(bytes, ip);
  const data = ipv4.totalLength(bytes, ip) - header;
  const size = fragmentData(header, mtu);
  const count = Math.ceil(data / size);
  const lastLength = IP + header + data - (count - 1) * size;
  if (!storage.hasRoom(count, IP + header + size, lastLength)) return -1;

  const from = storage.from[slot];
  const field = ipv4.fragment(bytes, ip);
  // From the word that holds the frame's first half to the end of the headers, which is also a word's.
  const firstWord = (at - 2) >> 2;
  const headerWords = (IP + header + 2) >> 2;

  for (let index = 0, done = 0; index < count; index++, done += size) {
    const last = index === count - 1;
    const length = last ? data - done : size;
    const part = storage.take(from, IP + header + length);
    const target = storage.at[part];
    storage.to[part] = UNDECIDED;

    const targetWord = (target - 2) >> 2;
    for (let word = 0; word < headerWords; word++)
      words[targetWord + word] = words[firstWord + word];
    virtio.clear(storage.halves, words, target);
    const payload = ip + header + done;
    bytes.copyWithin(target + IP + header, payload, payload + length);

    const targetIp = target + IP;
    ipv4.setTotalLength(bytes, targetIp, header + length);
    // The last one has "more fragments" only where the original had it.
    const more = last ? 0 : ipv4.MORE_FRAGMENTS;
    ipv4.setFragment(bytes, targetIp, (field + (done >> 3)) | more);
    if (index > 0) ipv4.forgetFirstOptions(bytes, targetIp);
    storage.halves[(targetIp + ipv4.CHECKSUM) >> 1] = 0;
    storage.halves[(targetIp + ipv4.CHECKSUM) >> 1] = checksum.finish(
      checksum.sumWords(words, targetIp >> 2, header),
    );
  }
  return count;
}

/** Data of every fragment but the last: a multiple of 8, as offsets count in 8 bytes. */
function fragmentData(header: number, mtu: number): number {
  return (mtu - header) & -8;
}
