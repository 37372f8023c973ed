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
import { finishChecksum, headersLength, writePseudoHeader } from './offload.ts';
import { isTunnelled, segmentTunnelled } from './tunnel.ts';

const IP = ethernet.HEADER_BYTES;

/**
 * Appends the segments of a datagram whose offload was checked and asks for segmentation, each complete with lengths, IP
 * identification, sequence number, flags and checksums, `from` and `to` copied, and no offload left. Returns their number; they
 * are the last slots of storage, in order. Returns -1, and appends none, when storage has no room for all. The datagram itself
 * stays as it is; what becomes of its slot is the caller's to say.
 */
export function segment(storage: BaseStorage, slot: number): number {
  if (isTunnelled(storage, slot)) return segmentTunnelled(storage, slot);
  const { bytes, words } = storage;
  const at = storage.at[slot];
  const header = at - virtio.HEADER_BYTES;
  const size = virtio.gsoSize(bytes, header);
  const ip = at + IP;
  const ipHeader = ipv4.headerLength(bytes, ip);
  const l4 = ip + ipHeader;
  const protocol = ipv4.protocol(bytes, ip);
  const isTcp = protocol === ipv4.PROTOCOL_TCP;
  const headers = headersLength(storage, slot, protocol);
  const l4Header = headers - IP - ipHeader;
  const checksumOffset = isTcp ? tcp.CHECKSUM : udp.CHECKSUM;
  const data = storage.length[slot] - headers;
  const count = Math.ceil(data / size);
  if (!storage.hasRoom(count, headers + size, headers + data - (count - 1) * size)) return -1;

  const from = storage.from[slot];
  const to = storage.to[slot];
  const identification = ipv4.identification(bytes, ip);
  const sequence = tcp.sequence(bytes, l4);
  const flags = tcp.flags(bytes, l4);
  // From the word that holds the frame's first half to the end of the headers, which is also a word's.
  const firstWord = (at - 2) >> 2;
  const headerWords = (headers + 2) >> 2;

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

    const targetIp = target + IP;
    ipv4.setTotalLength(bytes, targetIp, headers - IP + length);
    ipv4.setIdentification(bytes, targetIp, identification + i);
    storage.halves[(targetIp + ipv4.CHECKSUM) >> 1] = 0;
    storage.halves[(targetIp + ipv4.CHECKSUM) >> 1] = checksum.finish(
      checksum.sumWords(words, targetIp >> 2, ipHeader),
    );

    const targetL4 = targetIp + ipHeader;
    if (isTcp) {
      tcp.setSequence(bytes, targetL4, sequence + done);
      // The end of the data belongs to the last segment; "window reduced" is said once (RFC 3168 §6.1.2).
      let own = flags;
      if (!last) own &= ~(tcp.FIN | tcp.PSH);
      if (i !== 0) own &= ~tcp.CWR;
      tcp.setFlags(bytes, targetL4, own);
    } else {
      udp.setLength(bytes, targetL4, l4Header + length);
    }
    const field = targetL4 + checksumOffset;
    writePseudoHeader(storage, targetIp, field, protocol, l4Header + length);
    finishChecksum(storage, targetL4, checksumOffset, l4Header + length);
  }
  return count;
}
