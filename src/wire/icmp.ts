/**
 * ICMP (RFC 792).
 *
 *      0                   1                   2                   3
 *      0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
 *     |     Type      |     Code      |          Checksum             |
 *     |        four bytes whose meaning the type decides              |
 *     |                          data ...
 */
import { read32, write32 } from './bytes.ts';
import { finish, put, sumBytes } from './checksum.ts';

export const TYPE = 0;
export const CODE = 1;
export const CHECKSUM = 2;
export const REST = 4;
export const HEADER_BYTES = 8;

export const ECHO_REPLY = 0;
export const UNREACHABLE = 3;
export const ECHO_REQUEST = 8;
export const TIME_EXCEEDED = 11;

/** Codes of UNREACHABLE (RFC 792, RFC 1812 §5.2.7.1). */
export const NET_UNREACHABLE = 0;
export const HOST_UNREACHABLE = 1;
export const PROTOCOL_UNREACHABLE = 2;
export const PORT_UNREACHABLE = 3;
export const FRAGMENTATION_NEEDED = 4;

/** Code of TIME_EXCEEDED. */
export const TTL_EXCEEDED = 0;

/** True when `available` bytes hold the header. */
export function check(_bytes: Uint8Array, _at: number, available: number): boolean {
  return available >= HEADER_BYTES;
}

export function type(bytes: Uint8Array, at: number): number {
  return bytes[at];
}

export function setType(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value;
}

export function code(bytes: Uint8Array, at: number): number {
  return bytes[at + CODE];
}

export function setCode(bytes: Uint8Array, at: number, value: number): void {
  bytes[at + CODE] = value;
}

/** The second word: identifier and sequence of an echo; 0 and next-hop MTU of "fragmentation needed" (RFC 1191 §4). */
export function rest(bytes: Uint8Array, at: number): number {
  return read32(bytes, at + REST);
}

export function setRest(bytes: Uint8Array, at: number, value: number): void {
  write32(bytes, at + REST, value);
}

/**
 * True for the types that ask or answer, about which an error may be sent; false for errors and for types we don't know, which might
 * be errors (RFC 1122 §3.2.2). As Linux's table `icmp_pointers` has it.
 */
export function isQuery(type: number): boolean {
  // 0 and 8 echo; 13, 14 timestamp; 15, 16 information; 17, 18 address mask.
  return type === ECHO_REPLY || type === ECHO_REQUEST || (type >= 13 && type <= 18);
}

/** Computes the checksum over `length` bytes of header and data, and writes it. */
export function writeChecksum(bytes: Uint8Array, at: number, length: number): void {
  put(bytes, at + CHECKSUM, 0);
  put(bytes, at + CHECKSUM, finish(sumBytes(bytes, at, length)));
}
