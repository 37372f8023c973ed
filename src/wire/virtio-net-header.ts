/**
 * virtio-net header (virtio 1.3 §5.1.6), little-endian, as it stands in base storage: always 12 bytes. A driver with neither VERSION_1 nor
 * MRG_RXBUF has the first 10 only (`port/`, `Router.fromVm`); HASH_REPORT, which makes it longer, is never offered.
 *
 *      0       1       2       4       6       8      10      12
 *     | flags |  gso  |  hdr  |  gso  | csum  | csum  |  num  |
 *     |       |  type |  len  |  size | start | offset|buffers|
 *
 * `csum_start` counts from the first byte of the Ethernet frame.
 */
import { read16le, write16le } from './bytes.ts';

export const FLAGS = 0;
export const GSO_TYPE = 1;
export const HDR_LEN = 2;
export const GSO_SIZE = 4;
export const CSUM_START = 6;
export const CSUM_OFFSET = 8;
export const NUM_BUFFERS = 10;
export const HEADER_BYTES = 12;

/** The checksum at csum_start + csum_offset holds the pseudo-header's sum only, and is to be completed. */
export const NEEDS_CSUM = 1;
/** The checksum has been verified. */
export const DATA_VALID = 2;
export const RSC_INFO = 4;

export const GSO_NONE = 0;
export const GSO_TCPV4 = 1;
export const GSO_UDP = 3;
export const GSO_TCPV6 = 4;
export const GSO_UDP_L4 = 5;
/** Bit beside the type: the TCP segment has CWR set. */
export const GSO_ECN = 0x80;

export function flags(bytes: Uint8Array, at: number): number {
  return bytes[at + FLAGS];
}

export function setFlags(bytes: Uint8Array, at: number, value: number): void {
  bytes[at + FLAGS] = value;
}

export function gsoType(bytes: Uint8Array, at: number): number {
  return bytes[at + GSO_TYPE];
}

export function setGsoType(bytes: Uint8Array, at: number, value: number): void {
  bytes[at + GSO_TYPE] = value;
}

export function hdrLen(bytes: Uint8Array, at: number): number {
  return read16le(bytes, at + HDR_LEN);
}

export function setHdrLen(bytes: Uint8Array, at: number, value: number): void {
  write16le(bytes, at + HDR_LEN, value);
}

export function gsoSize(bytes: Uint8Array, at: number): number {
  return read16le(bytes, at + GSO_SIZE);
}

export function setGsoSize(bytes: Uint8Array, at: number, value: number): void {
  write16le(bytes, at + GSO_SIZE, value);
}

export function csumStart(bytes: Uint8Array, at: number): number {
  return read16le(bytes, at + CSUM_START);
}

export function setCsumStart(bytes: Uint8Array, at: number, value: number): void {
  write16le(bytes, at + CSUM_START, value);
}

export function csumOffset(bytes: Uint8Array, at: number): number {
  return read16le(bytes, at + CSUM_OFFSET);
}

export function setCsumOffset(bytes: Uint8Array, at: number, value: number): void {
  write16le(bytes, at + CSUM_OFFSET, value);
}

export function numBuffers(bytes: Uint8Array, at: number): number {
  return read16le(bytes, at + NUM_BUFFERS);
}

export function setNumBuffers(bytes: Uint8Array, at: number, value: number): void {
  write16le(bytes, at + NUM_BUFFERS, value);
}

/**
 * Zeroes the header of a frame in base storage (`at` of the *frame*, at % 4 == 2): nothing is asked for, no hint given.
 */
export function clear(halves: Uint16Array, words: Int32Array, frameAt: number): void {
  const at = frameAt - HEADER_BYTES;
  halves[(at + FLAGS) >> 1] = 0;
  words[(at + HDR_LEN) >> 2] = 0;
  words[(at + CSUM_START) >> 2] = 0;
  halves[(at + NUM_BUFFERS) >> 1] = 0;
}
