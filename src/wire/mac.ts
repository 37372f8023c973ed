/** MAC addresses as text and as six bytes. */
import { isMulticast } from './ipv4-address.ts';

export const MAC_BYTES = 6;
export const BROADCAST_MAC: Uint8Array = new Uint8Array(MAC_BYTES).fill(0xff);

const MAC_TEXT = /^[0-9a-f]{2}(?:(?::[0-9a-f]{2}){5}|(?:-[0-9a-f]{2}){5})$/i;

/** True for six pairs of hexadecimal digits with colons, or with dashes, between them. */
export function isMac(text: string): boolean {
  return MAC_TEXT.test(text);
}

/** Six fresh bytes; throws RangeError when `text` is no MAC address. */
export function parseMac(text: string): Uint8Array {
  if (!isMac(text)) throw new RangeError(`'${text}' is not a MAC address`);
  return Uint8Array.from(text.split(/[:-]/), (pair) => Number.parseInt(pair, 16));
}

/** `52:54:00:00:00:11` */
export function macText(bytes: Uint8Array, at = 0): string {
  let text = '';
  for (let i = 0; i < MAC_BYTES; i++) {
    text += (i === 0 ? '' : ':') + bytes[at + i].toString(16).padStart(2, '0');
  }
  return text;
}

/** True when the address at `at` is a group's: multicast or broadcast (IEEE 802, lowest bit of the first byte). */
export function isGroup(bytes: Uint8Array, at = 0): boolean {
  return (bytes[at] & 1) !== 0;
}

export function isZero(bytes: Uint8Array, at = 0): boolean {
  return (
    (bytes[at] | bytes[at + 1] | bytes[at + 2] | bytes[at + 3] | bytes[at + 4] | bytes[at + 5]) ===
    0
  );
}

export function same(bytes: Uint8Array, at: number, other: Uint8Array, otherAt: number): boolean {
  return (
    bytes[at + 5] === other[otherAt + 5] &&
    bytes[at + 4] === other[otherAt + 4] &&
    bytes[at + 3] === other[otherAt + 3] &&
    bytes[at + 2] === other[otherAt + 2] &&
    bytes[at + 1] === other[otherAt + 1] &&
    bytes[at] === other[otherAt]
  );
}

/**
 * Writes the group address that goes with an IPv4 broadcast or multicast destination (its key) at `halves[half]`: everybody's, or
 * by RFC 1112 §6.4 01:00:5e and the lower 23 bits of the group.
 */
export function putGroup(halves: Uint16Array, half: number, key: number): void {
  const multicast = isMulticast(key);
  halves[half] = multicast ? 0x0001 : 0xffff;
  halves[half + 1] = multicast ? 0x005e | (key & 0x7f00) : 0xffff;
  halves[half + 2] = multicast ? key >>> 16 : 0xffff;
}

/** Copies six bytes; the ranges may be in one array but must not overlap. */
export function copy(bytes: Uint8Array, at: number, other: Uint8Array, otherAt: number): void {
  bytes[at] = other[otherAt];
  bytes[at + 1] = other[otherAt + 1];
  bytes[at + 2] = other[otherAt + 2];
  bytes[at + 3] = other[otherAt + 3];
  bytes[at + 4] = other[otherAt + 4];
  bytes[at + 5] = other[otherAt + 5];
}
