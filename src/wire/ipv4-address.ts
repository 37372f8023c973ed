/**
 * IPv4 addresses as *keys*: the signed 32-bit number that the four bytes of the wire make when this little-endian machine
 * reads them as one word, so 10.77.0.1 is 0x01004d0a. Keys are compared, hashed and masked, never ordered.
 */

/** Four decimal numbers without leading zeros (RFC 6943 §3.1.1 on why the other notations are refused). */
const OCTET = '(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])';
const DOTTED = `${OCTET}(?:\\.${OCTET}){3}`;

/** Patterns without flags, so that they can stand in a JSON Schema, too. */
export const ADDRESS_PATTERN = new RegExp(`^${DOTTED}$`);
export const PREFIX_PATTERN = new RegExp(`^${DOTTED}/(?:3[0-2]|[12]?[0-9])$`);

/** An address range: those whose key ANDed with `mask` is `key`. */
export interface Prefix {
  /** Key of the network's address; no bit outside the mask. */
  readonly key: number;
  /** Mask as a key. */
  readonly mask: number;
  /** Length in bits, 0 to 32. */
  readonly bits: number;
}

export const BROADCAST_KEY = -1;

/** True for four decimal numbers from 0 to 255 with dots between them. */
export function isAddress(text: string): boolean {
  return ADDRESS_PATTERN.test(text);
}

/** Key of a dotted address; throws RangeError when `text` is none. */
export function keyOf(text: string): number {
  if (!isAddress(text)) throw new RangeError(`'${text}' is not an IPv4 address`);
  const [a, b, c, d] = text.split('.').map(Number);
  return a | (b << 8) | (c << 16) | (d << 24);
}

/** A key as text: `10.77.0.1` */
export function dotted(key: number): string {
  return `${key & 0xff}.${(key >>> 8) & 0xff}.${(key >>> 16) & 0xff}.${key >>> 24}`;
}

/** Mask of a prefix of `bits` bits, as a key. */
export function maskKey(bits: number): number {
  return bits === 0 ? 0 : swapKey(-1 << (32 - bits));
}

/** `10.0.0.0/8`; throws RangeError when it is no prefix or has bits set behind its length. */
export function parsePrefix(text: string): Prefix {
  if (!PREFIX_PATTERN.test(text)) {
    throw new RangeError(`'${text}' is not an IPv4 prefix like 10.0.0.0/8`);
  }
  const [first, digits] = text.split('/');
  const address = keyOf(first);
  const bits = Number(digits);
  const mask = maskKey(bits);
  const key = address & mask;
  if (key !== address) {
    throw new RangeError(`'${text}' has host bits set; the network is ${dotted(key)}/${bits}`);
  }
  return { key, mask, bits };
}

/** True for every address (a key) of the prefix, its first and last among them. */
export function contains(prefix: Prefix, key: number): boolean {
  return (key & prefix.mask) === prefix.key;
}

/** Key of the prefix's broadcast address; of a /31 or /32, which have none (RFC 3021), its last address. */
export function broadcastOf(prefix: Prefix): number {
  return prefix.key | ~prefix.mask;
}

/** Key ↔ the number with the first octet uppermost, for where addresses are counted through. */
export function swapKey(key: number): number {
  return (key << 24) | ((key & 0xff00) << 8) | ((key >>> 8) & 0xff00) | (key >>> 24);
}

/**
 * A hash of a key, all 32 bits of it mixed (Fibonacci hashing, Knuth, TAOCP 6.4; the second multiplication spreads what the first leaves low).
 * `seed`: drawn when a table is made, since guests choose the keys. `routing/plain.ts` has the same in its loops.
 */
export function hashOf(key: number, seed: number): number {
  let hash = Math.imul(key ^ seed, 0x9e3779b1);
  hash ^= hash >>> 15;
  hash = Math.imul(hash, 0x85ebca6b);
  return hash ^ (hash >>> 13);
}

/** 224.0.0.0/4 (RFC 5771). */
export function isMulticast(key: number): boolean {
  return (key & 0xf0) === 0xe0;
}

/** 0.0.0.0/8, "this network" (RFC 1122 §3.2.1.3). */
export function isThisNetwork(key: number): boolean {
  return (key & 0xff) === 0;
}

/** 127.0.0.0/8. */
export function isLoopback(key: number): boolean {
  return (key & 0xff) === 127;
}

/** 169.254.0.0/16, never forwarded (RFC 3927 §2.7). */
export function isLinkLocal(key: number): boolean {
  return (key & 0xffff) === 0xfea9;
}

/** 240.0.0.0/4, reserved, and with it 255.255.255.255 (RFC 1112 §4). */
export function isReserved(key: number): boolean {
  return (key & 0xf0) === 0xf0;
}

/** True when `key` can be one host's own address: none of the ranges above except link-local. */
export function isHost(key: number): boolean {
  return !isThisNetwork(key) && !isLoopback(key) && (key & 0xe0) !== 0xe0;
}
