/**
 * SCTP (RFC 9260 §3.1), as far as its checksum goes: no internet checksum, but a CRC32c over all of the packet.
 *
 *      0              2              4              8             12
 *     | source port  | destination  | tag          | checksum    | chunks ...
 */
export const CHECKSUM = 8;
export const HEADER_BYTES = 12;
export const PROTOCOL = 132;

/** CRC32c of each byte, bits mirrored (RFC 9260 appendix A): the polynomial 0x1edc6f41. */
const TABLE = Int32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit++) value = (value >>> 1) ^ ((value & 1) * 0x82f63b78);
  return value;
});

/** CRC32c over `length` bytes (RFC 3720 appendix B.4 has examples), as a signed number. */
export function crc32c(bytes: Uint8Array, at: number, length: number): number {
  let crc = -1;
  for (let index = at; index < at + length; index++)
    crc = (crc >>> 8) ^ TABLE[(crc ^ bytes[index]) & 0xff];
  return ~crc;
}

/** Computes the checksum of the packet of `length` bytes, no fewer than its header has, and writes it: the lowest byte first. */
export function writeChecksum(bytes: Uint8Array, at: number, length: number): void {
  bytes.fill(0, at + CHECKSUM, at + CHECKSUM + 4);
  const crc = crc32c(bytes, at, length);
  for (let byte = 0; byte < 4; byte++) bytes[at + CHECKSUM + byte] = crc >>> (8 * byte);
}
