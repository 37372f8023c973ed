/**
 * The virtio-net header as a guest writes and reads it (virtio 1.3, 5.1.6): 10 bytes for a legacy device without
 * mergeable buffers, 12 with VERSION_1 or MRG_RXBUF. Little-endian.
 */

export const HDR_FLAG = { needsCsum: 1, dataValid: 2, rscInfo: 4 } as const;
export const GSO = { none: 0, tcpv4: 1, udp: 3, tcpv6: 4, udpL4: 5, ecn: 0x80 } as const;

export interface NetHeader {
  flags: number;
  gsoType: number;
  headerLength: number;
  gsoSize: number;
  checksumStart: number;
  checksumOffset: number;
  /** Buffers that a received datagram is spread over; unused when sending. */
  buffers: number;
}

export const PLAIN: NetHeader = {
  flags: 0,
  gsoType: 0,
  headerLength: 0,
  gsoSize: 0,
  checksumStart: 0,
  checksumOffset: 0,
  buffers: 0,
};

export function encodeNetHeader(fields: Partial<NetHeader>, length: 10 | 12): Buffer {
  const header = { ...PLAIN, ...fields };
  const bytes = Buffer.alloc(length);
  bytes[0] = header.flags;
  bytes[1] = header.gsoType;
  bytes.writeUInt16LE(header.headerLength, 2);
  bytes.writeUInt16LE(header.gsoSize, 4);
  bytes.writeUInt16LE(header.checksumStart, 6);
  bytes.writeUInt16LE(header.checksumOffset, 8);
  if (length === 12) bytes.writeUInt16LE(header.buffers, 10);
  return bytes;
}

export function decodeNetHeader(bytes: Buffer, length: 10 | 12): NetHeader {
  return {
    flags: bytes[0],
    gsoType: bytes[1],
    headerLength: bytes.readUInt16LE(2),
    gsoSize: bytes.readUInt16LE(4),
    checksumStart: bytes.readUInt16LE(6),
    checksumOffset: bytes.readUInt16LE(8),
    buffers: length === 12 ? bytes.readUInt16LE(10) : 1,
  };
}
