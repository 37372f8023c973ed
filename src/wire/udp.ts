/**
 * UDP header (RFC 768).
 *
 *      0                   1                   2                   3
 *      0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
 *     |          Source Port          |       Destination Port        |
 *     |            Length             |           Checksum            |
 */
import { read16, write16 } from './bytes.ts';
import { add, finish, get, pseudoHeader, put, sumBytes } from './checksum.ts';

export const SOURCE_PORT = 0;
export const DESTINATION_PORT = 2;
export const LENGTH = 4;
export const CHECKSUM = 6;
export const HEADER_BYTES = 8;

const PROTOCOL = 17;

/** True when `available` bytes from `at` hold a whole UDP datagram. */
export function check(bytes: Uint8Array, at: number, available: number): boolean {
  if (available < HEADER_BYTES) return false;
  const total = length(bytes, at);
  return total >= HEADER_BYTES && total <= available;
}

export function sourcePort(bytes: Uint8Array, at: number): number {
  return read16(bytes, at + SOURCE_PORT);
}

export function setSourcePort(bytes: Uint8Array, at: number, port: number): void {
  write16(bytes, at + SOURCE_PORT, port);
}

export function destinationPort(bytes: Uint8Array, at: number): number {
  return read16(bytes, at + DESTINATION_PORT);
}

export function setDestinationPort(bytes: Uint8Array, at: number, port: number): void {
  write16(bytes, at + DESTINATION_PORT, port);
}

/** Bytes of header and payload. */
export function length(bytes: Uint8Array, at: number): number {
  return read16(bytes, at + LENGTH);
}

export function setLength(bytes: Uint8Array, at: number, value: number): void {
  write16(bytes, at + LENGTH, value);
}

/** True when the checksum is right, or 0, which means that the sender made none. Addresses as keys. */
export function checksumOk(
  bytes: Uint8Array,
  at: number,
  source: number,
  destination: number,
): boolean {
  if (get(bytes, at + CHECKSUM) === 0) return true;
  const total = length(bytes, at);
  const pseudo = pseudoHeader(source, destination, PROTOCOL, total);
  return add(pseudo, sumBytes(bytes, at, total)) === 0xffff;
}

/** Computes the checksum and writes it; the length must be set. Addresses as keys. */
export function writeChecksum(
  bytes: Uint8Array,
  at: number,
  source: number,
  destination: number,
): void {
  put(bytes, at + CHECKSUM, 0);
  const total = length(bytes, at);
  const pseudo = pseudoHeader(source, destination, PROTOCOL, total);
  const checksum = finish(add(pseudo, sumBytes(bytes, at, total)));
  // 0 would say "no checksum"; the other zero of one's complement takes its place.
  put(bytes, at + CHECKSUM, checksum === 0 ? 0xffff : checksum);
}
