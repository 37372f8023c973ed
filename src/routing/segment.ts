/**
 * Segmentation in software, for receivers that take no segmentation offload: what a network card makes of a TCP
 * datagram with gso_size (and Linux in `tcp_gso_segment`), or of a UDP one (`__udp_gso_segment`): the latter comes from an
 * adapter only, where the sender is on this host; it becomes datagrams of gso_size bytes.
 */
import type { BaseStorage } from '../storage/base-storage.ts';
import * as checksum from '../wire/checksum.ts';
import * as ethernet from '../wire/ethernet.ts';
import * as ipv4 from '../wire/ipv4.ts';
import * as tcp from '../wire/tcp.ts';
import * as udp from '../wire/udp.ts';
import * as virtio from '../wire/virtio-net-header.ts';
import { finishChecksum, writePseudoHeader } from './offload.ts';
import { innerIp } from './tunnel-inside.ts';
import { finishTunnelled, isTunnelled } from './tunnel.ts';

const IP = ethernet.HEADER_BYTES;

/**
 * Appends the segments of a datagram whose offload was checked and asks for segmentation, each complete with lengths, IP
 * identification, sequence number, flags and checksums, `from` and `to` copied, and no offload left. Returns their number; they
 * are the last slots of storage, in order. Returns -1, and appends none, when storage has no room for all. The datagram itself
 * stays as it is; what becomes of its slot is the caller's to say.
 */
export function segment(storage: BaseStorage, slot: number): number {
  const { bytes, words } = storage;
  const at = storage.at[slot];
  const header = at - virtio.HEADER_BYTES;
  const size = virtio.gsoSize(bytes, header);
  // All of them as the check has left them.
  const headers = virtio.hdrLen(bytes, header);
  const start = virtio.csumStart(bytes, header);
  const isTcp = virtio.csumOffset(bytes, header) === tcp.CHECKSUM;
  const inner = isTunnelled(storage, slot) ? innerIp(storage, slot) : 0;
  const data = storage.length[slot] - headers;
  const count = Math.ceil(data / size);
  if (!storage.hasRoom(count, headers + size, headers + data - (count - 1) * size)) return -1;

  const from = storage.from[slot];
  const to = storage.to[slot];
  const sequence = tcp.sequence(bytes, at + start);
  const flags = tcp.flags(bytes, at + start);
  // From the word that holds the frame's first half to the end of the headers, or two bytes more: the payload comes over them.
  const firstWord = (at - 2) >> 2;
  const headerWords = (headers + 2 + 3) >> 2;

  for (let i = 0, done = 0; i < count; i++, done += size) {
    const last = i === count - 1;
    const length = last ? data - done : size;
    const part = storage.take(from, headers + length);
    const target = storage.at[part];
    storage.to[part] = to;

    const targetWord = (target - 2) >> 2;
    for (let w = 0; w < headerWords; w++) words[targetWord + w] = words[firstWord + w];
    virtio.clear(storage.halves, words, target);
    const payload = at + headers + done;
    bytes.copyWithin(target + headers, payload, payload + length);

    const l4 = target + start;
    const end = target + headers + length;
    if (isTcp) {
      tcp.setSequence(bytes, l4, sequence + done);
      // The end of the data belongs to the last segment; "window reduced" is said once (RFC 3168 §6.1.2).
      let own = flags;
      if (!last) own &= ~(tcp.FIN | tcp.PSH);
      if (i !== 0) own &= ~tcp.CWR;
      tcp.setFlags(bytes, l4, own);
    } else {
      udp.setLength(bytes, l4, end - l4);
    }
    if (inner !== 0) finishTunnelled(storage, target, target + inner, l4, end, i, isTcp);
    else finishPlain(storage, target + IP, l4, end, i, isTcp);
  }
  return count;
}

/** Length, identification and checksums of the `index`th segment: IP at `ip`, TCP or UDP from `l4` to `end`. All lie on words. */
function finishPlain(
  storage: BaseStorage,
  ip: number,
  l4: number,
  end: number,
  index: number,
  isTcp: boolean,
): void {
  const { bytes, halves, words } = storage;
  ipv4.setTotalLength(bytes, ip, end - ip);
  ipv4.setIdentification(bytes, ip, ipv4.identification(bytes, ip) + index);
  const field = (ip + ipv4.CHECKSUM) >> 1;
  halves[field] = 0;
  halves[field] = checksum.finish(checksum.sumWords(words, ip >> 2, l4 - ip));
  const offset = isTcp ? tcp.CHECKSUM : udp.CHECKSUM;
  const protocol = isTcp ? ipv4.PROTOCOL_TCP : ipv4.PROTOCOL_UDP;
  writePseudoHeader(storage, ip, l4 + offset, protocol, end - l4);
  finishChecksum(storage, l4, offset, end - l4);
}
