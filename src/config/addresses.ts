/**
 * IPv4 addresses, prefixes and MAC addresses as they stand in the configuration: text to numbers and back.
 *
 * Strict on purpose: no leading zeros (some tools read them as octal), no short forms, no host bits in a prefix.
 * Numbers here are the address in host order, 0..2^32-1: fit for comparing and printing, not for the wire.
 */

import {
  ADDRESS_PATTERN,
  dotted,
  isLinkLocal,
  isLoopback,
  isMulticast,
  isReserved,
  isThisNetwork,
  keyOf,
  PREFIX_PATTERN,
  swapKey,
} from '../wire/ipv4-address.ts';

/** A pattern without flags, so that it can stand in the JSON Schema, too. */
export const MAC_PATTERN = /^[0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2}){5}$/;

/** A network prefix: `first` is the address with all host bits zero. */
export interface Prefix {
  first: number;
  last: number;
  length: number;
}

/** The address as a number, or null when the text is no dotted IPv4 address. */
export function parseAddress(text: unknown): number | null {
  if (typeof text !== 'string' || !ADDRESS_PATTERN.test(text)) return null;
  return swapKey(keyOf(text)) >>> 0;
}

/** An address (a number in host order) in dotted form. */
export function formatAddress(address: number): string {
  return dotted(swapKey(address));
}

/** The prefix that contains the given address, and whether the text had host bits set; null when malformed. */
export function parsePrefix(text: unknown): (Prefix & { hostBits: boolean }) | null {
  if (typeof text !== 'string' || !PREFIX_PATTERN.test(text)) return null;
  const [start, digits] = text.split('/');
  const address = swapKey(keyOf(start)) >>> 0;
  const length = Number(digits);
  const size = 2 ** (32 - length);
  const first = address - (address % size);
  return { first, last: first + size - 1, length, hostBits: address !== first };
}

/** `10.77.0.0/24` */
export function formatPrefix(prefix: Prefix): string {
  return `${formatAddress(prefix.first)}/${prefix.length}`;
}

export function contains(prefix: Prefix, address: number): boolean {
  return address >= prefix.first && address <= prefix.last;
}

export function overlap(a: Prefix, b: Prefix): boolean {
  return a.first <= b.last && b.first <= a.last;
}

/** Why an address can't be a host's, whatever the subnet (RFC 1122 3.2.1.3); '' when it can. */
export function unusableAddress(address: number): string {
  const key = swapKey(address);
  if (isThisNetwork(key)) return 'is in 0.0.0.0/8, which is no host’s';
  if (isLoopback(key)) return 'is in 127.0.0.0/8, which is loopback';
  if (isLinkLocal(key)) return 'is in 169.254.0.0/16, which is link-local and never passed on';
  if (isReserved(key)) return 'is in 240.0.0.0/4, which is reserved';
  if (isMulticast(key)) return 'is in 224.0.0.0/4, which is multicast';
  return '';
}

/** Why a MAC address of correct syntax can't be a station's; '' when it can. */
export function unusableMac(mac: string): string {
  if (/^00(:00){5}$/.test(mac)) return 'is all zero';
  if (Number.parseInt(mac.slice(0, 2), 16) & 1) {
    return 'is a group address (the lowest bit of its first byte is set): a station needs a unicast one';
  }
  return '';
}
