/**
 * The internet checksum (RFC 1071) and its incremental update (RFC 1624).
 *
 * Sums are formed over 16-bit halves as this little-endian machine reads them; by RFC 1071 §2(B) the result is then the
 * checksum with its bytes in wire order, so it is stored low byte first (`put`) and never swapped. Every function returns
 * and takes *folded* sums, 0 to 0xffff, so that nothing can overflow on the way.
 *
 * A sum over at most 64 KiB, which is all that a datagram can be, stays within 32 bits.
 */
import { swap16 } from './bytes.ts';

/** Longest range of one sum. */
export const MAX_SUM_BYTES = 65_536;

/** Brings a sum below 2^32 back to 16 bits, the carries added in (end-around carry). */
export function fold(sum: number): number {
  const once = (sum & 0xffff) + (sum >>> 16);
  return (once & 0xffff) + (once >>> 16);
}

/** Sum of two folded sums. */
export function add(a: number, b: number): number {
  const sum = a + b;
  return (sum & 0xffff) + (sum >>> 16);
}

/** Sum of a range whose first part, `firstLength` bytes, sums to `first` and whose rest sums to `rest`. */
export function join(first: number, firstLength: number, rest: number): number {
  // Behind an odd first part the bytes of the rest stand in the other half of each pair (RFC 1071 §2(B)).
  return add(first, (firstLength & 1) === 0 ? rest : swap16(rest));
}

/** Sum over `length` bytes at any alignment; an odd last byte counts as if a zero followed. */
export function sumBytes(bytes: Uint8Array, at: number, length: number): number {
  const end = at + (length & -2);
  let sum = 0;
  for (let i = at; i < end; i += 2) sum += bytes[i] | (bytes[i + 1] << 8);
  if ((length & 1) !== 0) sum += bytes[end];
  return fold(sum);
}

/**
 * The same over `length` bytes that begin at `words[index]`: for base storage, where headers lie on words. Reads the
 * last, partial word whole and masks it, so the array must reach to its end.
 */
export function sumWords(words: Int32Array, index: number, length: number): number {
  // With W the sum of words modulo 2^32 and H the exact sum of their upper halves, the sum of the lower halves is
  // W - H * 2^16 (below 2^30, so exact): three operations for each word instead of four.
  let whole = 0;
  let high = 0;
  const end = index + (length >>> 2);
  const unrolled = end - 3;
  let i = index;
  for (; i < unrolled; i += 4) {
    const a = words[i];
    const b = words[i + 1];
    const c = words[i + 2];
    const d = words[i + 3];
    whole = (((whole + a) | 0) + ((b + c) | 0) + d) | 0;
    high = (high + (a >>> 16) + (b >>> 16) + (c >>> 16) + (d >>> 16)) | 0;
  }
  for (; i < end; i++) {
    const a = words[i];
    whole = (whole + a) | 0;
    high = (high + (a >>> 16)) | 0;
  }
  const rest = length & 3;
  if (rest !== 0) {
    const a = words[end] & ((1 << (rest << 3)) - 1);
    whole = (whole + a) | 0;
    high = (high + (a >>> 16)) | 0;
  }
  const low = (whole - (high << 16)) >>> 0;
  return add(fold(low), fold(high));
}

/** What goes into the checksum field for a folded sum. */
export function finish(sum: number): number {
  return ~sum & 0xffff;
}

/**
 * Sum of the pseudo-header of TCP and UDP (RFC 9293 §3.1, RFC 768): addresses as keys, `length` of the TCP or UDP
 * header and what follows it.
 */
export function pseudoHeader(
  source: number,
  destination: number,
  protocol: number,
  length: number,
): number {
  return fold(
    (source & 0xffff) +
      (source >>> 16) +
      (destination & 0xffff) +
      (destination >>> 16) +
      (protocol << 8) +
      swap16(length),
  );
}

/**
 * The checksum after one half under it changed from `before` to `after`, all three as they stand in memory:
 * HC' = ~(~HC + ~m + m') (RFC 1624 §3, equation 3).
 */
export function update(checksum: number, before: number, after: number): number {
  return ~fold((~checksum & 0xffff) + (~before & 0xffff) + after) & 0xffff;
}

/** The checksum field as it stands in memory. */
export function get(bytes: Uint8Array, at: number): number {
  return bytes[at] | (bytes[at + 1] << 8);
}

export function put(bytes: Uint8Array, at: number, checksum: number): void {
  bytes[at] = checksum;
  bytes[at + 1] = checksum >>> 8;
}
