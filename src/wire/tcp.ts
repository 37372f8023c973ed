/**
 * TCP header (RFC 9293 §3.1): as much of it as checksums and segmentation need.
 *
 *      0                   1                   2                   3
 *      0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
 *     |          Source Port          |       Destination Port        |
 *     |                        Sequence Number                        |
 *     |                    Acknowledgment Number                      |
 *     | Offset| Rsrvd |C|E|U|A|P|R|S|F|            Window             |
 *     |           Checksum            |         Urgent Pointer        |
 *     |                    Options                    |    Padding    |
 */
import { read16, read32, write16, write32 } from './bytes.ts';

export const SOURCE_PORT = 0;
export const DESTINATION_PORT = 2;
export const SEQUENCE = 4;
export const ACKNOWLEDGMENT = 8;
export const DATA_OFFSET = 12;
export const FLAGS = 13;
export const WINDOW = 14;
export const CHECKSUM = 16;
export const URGENT = 18;
export const MIN_HEADER_BYTES = 20;

export const FIN = 0x01;
export const SYN = 0x02;
export const RST = 0x04;
export const PSH = 0x08;
export const ACK = 0x10;
export const URG = 0x20;
export const ECE = 0x40;
export const CWR = 0x80;

/** True when `available` bytes from `at` hold a whole TCP header with its options. */
export function check(bytes: Uint8Array, at: number, available: number): boolean {
  if (available < MIN_HEADER_BYTES) return false;
  const header = headerLength(bytes, at);
  return header >= MIN_HEADER_BYTES && header <= available;
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

export function sequence(bytes: Uint8Array, at: number): number {
  return read32(bytes, at + SEQUENCE);
}

/** Writes a sequence number modulo 2^32. */
export function setSequence(bytes: Uint8Array, at: number, value: number): void {
  write32(bytes, at + SEQUENCE, value);
}

/** Bytes of the header, options included. */
export function headerLength(bytes: Uint8Array, at: number): number {
  return (bytes[at + DATA_OFFSET] >>> 4) << 2;
}

/** Writes the header's length in bytes; the reserved bits become 0. */
export function setHeaderLength(bytes: Uint8Array, at: number, length: number): void {
  bytes[at + DATA_OFFSET] = (length >>> 2) << 4;
}

export function flags(bytes: Uint8Array, at: number): number {
  return bytes[at + FLAGS];
}

export function setFlags(bytes: Uint8Array, at: number, value: number): void {
  bytes[at + FLAGS] = value;
}
