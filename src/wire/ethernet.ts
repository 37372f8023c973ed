/**
 * Ethernet II header (IEEE 802.3 §3.2.6, RFC 894).
 *
 *      0                   1                   2                   3
 *      0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
 *     |                       Destination                             |
 *     |                               |           Source              |
 *     |                                                               |
 *     |           EtherType           |
 */
import { read16, write16 } from './bytes.ts';

export const DESTINATION = 0;
export const SOURCE = 6;
export const ETHER_TYPE = 12;
export const HEADER_BYTES = 14;

/** Shortest frame on a wire, check sequence not counted; virtio-net carries shorter ones. */
export const MIN_WIRE_BYTES = 60;

export const TYPE_IPV4 = 0x0800;
export const TYPE_ARP = 0x0806;
export const TYPE_IPV6 = 0x86dd;
/** Tags: IEEE 802.1Q and 802.1ad. */
export const TYPE_VLAN = 0x8100;
export const TYPE_SERVICE_VLAN = 0x88a8;

/** True when `available` bytes hold the header. */
export function check(_bytes: Uint8Array, _at: number, available: number): boolean {
  return available >= HEADER_BYTES;
}

export function etherType(bytes: Uint8Array, at: number): number {
  return read16(bytes, at + ETHER_TYPE);
}

export function setEtherType(bytes: Uint8Array, at: number, type: number): void {
  write16(bytes, at + ETHER_TYPE, type);
}
