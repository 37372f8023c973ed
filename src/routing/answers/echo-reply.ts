/** The base answers pings to its own address. */
import type { BaseStorage } from '../../storage/base-storage.ts';
import * as checksum from '../../wire/checksum.ts';
import * as ethernet from '../../wire/ethernet.ts';
import * as icmp from '../../wire/icmp.ts';
import * as ipv4Address from '../../wire/ipv4-address.ts';
import * as ipv4 from '../../wire/ipv4.ts';
import * as mac from '../../wire/mac.ts';
import { clearOffload } from '../offload.ts';

/** True for a whole, unfragmented ICMP echo request from one host, IPv4 header checked before. */
export function isEchoRequest(storage: BaseStorage, slot: number): boolean {
  const bytes = storage.bytes;
  const ip = storage.at[slot] + ethernet.HEADER_BYTES;
  const header = ipv4.headerLength(bytes, ip);
  const l4 = ip + header;
  return (
    ipv4.protocol(bytes, ip) === ipv4.PROTOCOL_ICMP &&
    !ipv4.isFragment(bytes, ip) &&
    icmp.check(bytes, l4, ipv4.totalLength(bytes, ip) - header) &&
    icmp.type(bytes, l4) === icmp.ECHO_REQUEST &&
    icmp.code(bytes, l4) === 0 &&
    ipv4Address.isHost(ipv4.source(bytes, ip))
  );
}

/**
 * Makes an echo request into its reply where it lies (RFC 792, RFC 1122 §3.2.2.6): addresses changed over, type 0, time to live
 * 64, padding cut off, offload header cleared, nothing else. The checksums are updated, not computed: who sent a damaged request gets the
 * damage back. `to` is the caller's to set.
 */
export function echoReply(storage: BaseStorage, slot: number, baseMac: Uint8Array): void {
  const { bytes, halves, words } = storage;
  const at = storage.at[slot];
  // ICMP has no checksum offload, so there is none to complete.
  clearOffload(storage, slot);

  mac.copy(bytes, at + ethernet.DESTINATION, bytes, at + ethernet.SOURCE);
  mac.copy(bytes, at + ethernet.SOURCE, baseMac, 0);

  const ip = at + ethernet.HEADER_BYTES;
  storage.length[slot] = ethernet.HEADER_BYTES + ipv4.totalLength(bytes, ip);
  const source = (ip + ipv4.SOURCE) >> 2;
  const asker = words[source];
  words[source] = words[source + 1];
  words[source + 1] = asker;
  const lifeAndProtocol = (ip + ipv4.TIME_TO_LIVE) >> 1;
  const before = halves[lifeAndProtocol];
  ipv4.setTimeToLive(bytes, ip, ipv4.DEFAULT_TIME_TO_LIVE);
  const ipChecksum = (ip + ipv4.CHECKSUM) >> 1;
  halves[ipChecksum] = checksum.update(halves[ipChecksum], before, halves[lifeAndProtocol]);

  const l4 = ip + ipv4.headerLength(bytes, ip);
  const typeAndCode = l4 >> 1;
  const icmpChecksum = (l4 + icmp.CHECKSUM) >> 1;
  const updated = checksum.update(halves[icmpChecksum], halves[typeAndCode], icmp.ECHO_REPLY);
  // Zero is right unless all else is zero, too (no payload, identifier and number 0); 0xffff is always.
  halves[icmpChecksum] = updated === 0 ? 0xffff : updated;
  halves[typeAndCode] = icmp.ECHO_REPLY;
}
