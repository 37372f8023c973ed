/**
 * IPv4 addresses, prefixes and MAC addresses as they stand in the configuration: text to numbers and back.
 *
 * Strict on purpose: no leading zeros (some tools read them as octal), no short forms, no host bits in a prefix.
 * Numbers here are the address in host order, 0..2^32-1: fit for comparing and printing, not for the wire.
 */

const OCTET = '(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])';
const DOTTED = `${OCTET}(?:\\.${OCTET}){3}`;

/** Patterns without flags, so that they can stand in the JSON Schema too. */
export const ADDRESS_PATTERN = new RegExp(`^${DOTTED}$`);
export const PREFIX_PATTERN = new RegExp(`^${DOTTED}/(?:3[0-2]|[12]?[0-9])$`);
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
  return text.split('.').reduce((sum, octet) => sum * 256 + Number(octet), 0);
}

/** An address (a number in host order) in dotted form. */
export function formatAddress(address: number): string {
  return [24, 16, 8, 0].map((shift) => Math.floor(address / 2 ** shift) % 256).join('.');
}

/** The prefix that contains the given address, and whether the text had host bits set; null when malformed. */
export function parsePrefix(text: unknown): (Prefix & { hostBits: boolean }) | null {
  if (typeof text !== 'string' || !PREFIX_PATTERN.test(text)) return null;
  const [dotted, digits] = text.split('/') as [string, string];
  const address = parseAddress(dotted) as number;
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
  const high = Math.floor(address / 2 ** 24);
  if (high === 0) return 'is in 0.0.0.0/8, which is no host’s';
  if (high === 127) return 'is in 127.0.0.0/8, which is loopback';
  if (high >= 240) return 'is in 240.0.0.0/4, which is reserved';
  if (high >= 224) return 'is in 224.0.0.0/4, which is multicast';
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
