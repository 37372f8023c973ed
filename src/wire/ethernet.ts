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

export function check(_bytes: Uint8Array, _at: number, available: number): boolean {
  return available >= HEADER_BYTES;
}

export function etherType(bytes: Uint8Array, at: number): number {
  return read16(bytes, at + ETHER_TYPE);
}

export function setEtherType(bytes: Uint8Array, at: number, type: number): void {
  write16(bytes, at + ETHER_TYPE, type);
}

/*
 * MAC addresses as two numbers, for frames in base storage (at % 4 == 2): the destination lies there as a half and a
 * word behind it, the source as a word and a half behind it.
 */

export function destinationHalf(halves: Uint16Array, at: number): number {
  return halves[at >> 1];
}

export function destinationWord(words: Int32Array, at: number): number {
  return words[(at + 2) >> 2];
}

export function sourceWord(words: Int32Array, at: number): number {
  return words[(at + 6) >> 2];
}

export function sourceHalf(halves: Uint16Array, at: number): number {
  return halves[(at + 10) >> 1];
}
