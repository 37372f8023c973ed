/** Checksums that a virtio-net header asks for and nobody can complete. They are refused whether CSUM was negotiated or not. */
import { HDR_FLAG, type NetHeader } from '../support/net-header.ts';
import { A, B, udpFrame } from '../support/traffic.ts';
import type { Lie } from './attack.ts';

/** Eight bytes into the UDP datagram stands another header, which says the length that the first one has. */
const inner = Buffer.alloc(100, 0x5a);
inner.writeUInt16BE(108, 4);
export const udpData = udpFrame(A, B.ip, inner, { checksum: 'partial' });
const end = udpData.length;
/** NEEDS_CSUM at a place. */
export const csum = (start: number, offset: number): Partial<NetHeader> => ({
  flags: HDR_FLAG.needsCsum,
  checksumStart: start,
  checksumOffset: offset,
});
const CHECKSUM: [string, Partial<NetHeader>][] = [
  ['start at 65535', csum(65535, 6)],
  ['start at the end', csum(end, 0)],
  ['start behind the end', csum(end + 1, 6)],
  ['start plus offset at the end', csum(34, end - 34)],
  ['one byte of the field behind the end', csum(34, end - 35)],
  ['a sum that wraps 16 bits', csum(34, 65535)],
  ['both at 65535', csum(65535, 65535)],
  ['start in the Ethernet header', csum(4, 6)],
  ['start in the IP header', csum(20, 6)],
  ['start in the payload, where another UDP header stands', csum(42, 6)],
];

export const CHECKSUM_LIES: Lie[] = CHECKSUM.map(([name, header]) => ({
  name: `checksum: ${name}`,
  reason: 'badChecksumOffload',
  tell: (a) => a.trySend(udpData, { header, publish: false }),
}));
