/**
 * IPv4 header (RFC 791 §3.1).
 *
 *      0                   1                   2                   3
 *      0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
 *     |Version|  IHL  |Type of Service|          Total Length         |
 *     |         Identification        |Flags|      Fragment Offset    |
 *     |  Time to Live |    Protocol   |         Header Checksum       |
 *     |                       Source Address                          |
 *     |                    Destination Address                        |
 *     |                    Options                    |    Padding    |
 */
import { read16, readKey, write16, writeKey } from './bytes.ts';
import { finish, fold, get, put, sumBytes, sumWords } from './checksum.ts';

export const VERSION_IHL = 0;
export const TYPE_OF_SERVICE = 1;
export const TOTAL_LENGTH = 2;
export const IDENTIFICATION = 4;
export const FRAGMENT = 6;
export const TIME_TO_LIVE = 8;
export const PROTOCOL = 9;
export const CHECKSUM = 10;
export const SOURCE = 12;
export const DESTINATION = 16;
export const OPTIONS = 20;

export const MIN_HEADER_BYTES = 20;
export const MAX_TOTAL_BYTES = 65_535;
/** RFC 1700, "IP option numbers": the recommended initial time to live. */
export const DEFAULT_TIME_TO_LIVE = 64;

export const DONT_FRAGMENT = 0x4000;
export const MORE_FRAGMENTS = 0x2000;
export const FRAGMENT_OFFSET = 0x1fff;

export const PROTOCOL_ICMP = 1;
export const PROTOCOL_TCP = 6;
export const PROTOCOL_UDP = 17;

/**
 * True when `available` bytes from `at` hold a whole IPv4 datagram: version, header length, total length against
 * both ends, header checksum (RFC 1812 §5.2.2).
 */
export function check(bytes: Uint8Array, at: number, available: number): boolean {
  if (available < MIN_HEADER_BYTES) return false;
  if (bytes[at] >>> 4 !== 4) return false;
  const header = headerLength(bytes, at);
  const total = totalLength(bytes, at);
  return (
    header >= MIN_HEADER_BYTES &&
    header <= total &&
    total <= available &&
    sumBytes(bytes, at, header) === 0xffff
  );
}

/** The same five checks for a header that begins at `words[index]`: the way of the hot path. */
export function checkWords(words: Int32Array, index: number, available: number): boolean {
  if (available < MIN_HEADER_BYTES) return false;
  const first = words[index];
  const headerWords = first & 0x0f;
  const total = ((first >>> 8) & 0xff00) | (first >>> 24);
  return (
    (first & 0xf0) === 0x40 &&
    headerWords >= 5 &&
    headerWords << 2 <= total &&
    total <= available &&
    checksumOk(words, index, headerWords)
  );
}

/** True when the checksum of the header of `headerWords` words at `words[index]` is right. */
function checksumOk(words: Int32Array, index: number, headerWords: number): boolean {
  if (headerWords !== 5) return sumWords(words, index, headerWords << 2) === 0xffff;
  const a = words[index];
  const b = words[index + 1];
  const c = words[index + 2];
  const d = words[index + 3];
  const e = words[index + 4];
  const low = (a & 0xffff) + (b & 0xffff) + (c & 0xffff) + (d & 0xffff) + (e & 0xffff);
  const high = (a >>> 16) + (b >>> 16) + (c >>> 16) + (d >>> 16) + (e >>> 16);
  return fold(low + high) === 0xffff;
}

export function version(bytes: Uint8Array, at: number): number {
  return bytes[at] >>> 4;
}

/** Bytes of the header, options included. */
export function headerLength(bytes: Uint8Array, at: number): number {
  return (bytes[at] & 0x0f) << 2;
}

/** Writes version 4 and the header's length in bytes. */
export function setHeaderLength(bytes: Uint8Array, at: number, length: number): void {
  bytes[at] = 0x40 | (length >>> 2);
}

export function typeOfService(bytes: Uint8Array, at: number): number {
  return bytes[at + TYPE_OF_SERVICE];
}

export function setTypeOfService(bytes: Uint8Array, at: number, value: number): void {
  bytes[at + TYPE_OF_SERVICE] = value;
}

export function totalLength(bytes: Uint8Array, at: number): number {
  return read16(bytes, at + TOTAL_LENGTH);
}

export function setTotalLength(bytes: Uint8Array, at: number, length: number): void {
  write16(bytes, at + TOTAL_LENGTH, length);
}

export function identification(bytes: Uint8Array, at: number): number {
  return read16(bytes, at + IDENTIFICATION);
}

export function setIdentification(bytes: Uint8Array, at: number, value: number): void {
  write16(bytes, at + IDENTIFICATION, value);
}

/** Flags and fragment offset as one number; see DONT_FRAGMENT, MORE_FRAGMENTS, FRAGMENT_OFFSET (8-byte units). */
export function fragment(bytes: Uint8Array, at: number): number {
  return read16(bytes, at + FRAGMENT);
}

export function setFragment(bytes: Uint8Array, at: number, value: number): void {
  write16(bytes, at + FRAGMENT, value);
}

/** True for any fragment, the first one too. */
export function isFragment(bytes: Uint8Array, at: number): boolean {
  return (fragment(bytes, at) & (MORE_FRAGMENTS | FRAGMENT_OFFSET)) !== 0;
}

export function timeToLive(bytes: Uint8Array, at: number): number {
  return bytes[at + TIME_TO_LIVE];
}

export function setTimeToLive(bytes: Uint8Array, at: number, value: number): void {
  bytes[at + TIME_TO_LIVE] = value;
}

export function protocol(bytes: Uint8Array, at: number): number {
  return bytes[at + PROTOCOL];
}

export function setProtocol(bytes: Uint8Array, at: number, value: number): void {
  bytes[at + PROTOCOL] = value;
}

/** Source address as a key. */
export function source(bytes: Uint8Array, at: number): number {
  return readKey(bytes, at + SOURCE);
}

export function setSource(bytes: Uint8Array, at: number, key: number): void {
  writeKey(bytes, at + SOURCE, key);
}

/** Destination address as a key. */
export function destination(bytes: Uint8Array, at: number): number {
  return readKey(bytes, at + DESTINATION);
}

export function setDestination(bytes: Uint8Array, at: number, key: number): void {
  writeKey(bytes, at + DESTINATION, key);
}

/** Computes the header checksum anew and writes it; the header length must be set. */
export function writeChecksum(bytes: Uint8Array, at: number): void {
  put(bytes, at + CHECKSUM, 0);
  put(bytes, at + CHECKSUM, finish(sumBytes(bytes, at, headerLength(bytes, at))));
}

/**
 * Writes a whole header of 20 bytes, checksum included: time to live 64, not to be fragmented (so its identification may be 0,
 * RFC 6864 §4.1). Addresses as keys.
 */
export function writeHeader(
  bytes: Uint8Array,
  at: number,
  typeOfService: number,
  total: number,
  protocol: number,
  source: number,
  destination: number,
): void {
  setHeaderLength(bytes, at, MIN_HEADER_BYTES);
  setTypeOfService(bytes, at, typeOfService);
  setTotalLength(bytes, at, total);
  setIdentification(bytes, at, 0);
  setFragment(bytes, at, DONT_FRAGMENT);
  setTimeToLive(bytes, at, DEFAULT_TIME_TO_LIVE);
  setProtocol(bytes, at, protocol);
  setSource(bytes, at, source);
  setDestination(bytes, at, destination);
  writeChecksum(bytes, at);
}

/**
 * Takes one from the time to live, which must not be 0, and mends the checksum: RFC 1624's update where one half goes down
 * by one, so the checksum goes up by one.
 */
export function decrementTimeToLive(bytes: Uint8Array, at: number): void {
  bytes[at + TIME_TO_LIVE]--;
  const sum = get(bytes, at + CHECKSUM) + 1;
  put(bytes, at + CHECKSUM, sum < 0xffff ? sum : sum + 1);
}

const OPTION_END = 0;
const OPTION_NOP = 1;
/** In an option's type: all fragments carry it, not the first alone. */
const OPTION_COPIED = 0x80;
const OPTION_LOOSE_SOURCE_ROUTE = 131;
const OPTION_STRICT_SOURCE_ROUTE = 137;

/**
 * True when the options of a checked header carry a source route (RFC 7126 §4.3 and §4.4: to be dropped), or are so malformed that
 * another host might find one in them.
 */
export function sourceRouted(bytes: Uint8Array, at: number): boolean {
  const end = at + headerLength(bytes, at);
  let option = at + OPTIONS;
  while (option < end) {
    const type = bytes[option];
    if (type === OPTION_END) return false;
    if (type === OPTION_NOP) {
      option++;
      continue;
    }
    if (type === OPTION_LOOSE_SOURCE_ROUTE || type === OPTION_STRICT_SOURCE_ROUTE) return true;
    // A length below 2 would never end, one past the header would read the payload.
    if (option + 1 >= end) return true;
    const length = bytes[option + 1];
    if (length < 2 || option + length > end) return true;
    option += length;
  }
  return false;
}

/**
 * Overwrites the options that only a datagram's first fragment carries with "no operation". The options must be well-formed, as
 * `sourceRouted` says; the checksum is the caller's.
 */
export function forgetFirstOptions(bytes: Uint8Array, at: number): void {
  const end = at + headerLength(bytes, at);
  let option = at + OPTIONS;
  while (option < end && bytes[option] !== OPTION_END) {
    const next = option + (bytes[option] === OPTION_NOP ? 1 : bytes[option + 1]);
    if ((bytes[option] & OPTION_COPIED) === 0) bytes.fill(OPTION_NOP, option, next);
    option = next;
  }
}
