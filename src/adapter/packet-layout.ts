/**
 * Where things are in an AF_PACKET ring (linux/if_packet.h, TPACKET_V2), in bytes from a frame's start, and the status bits.
 * Little-endian, as everywhere.
 */
import type { PacketRing } from '../native.ts';

/** struct tpacket2_hdr, followed on the receive side by struct sockaddr_ll. */
export const PACKET = {
  status: 0,
  length: 4,
  capturedLength: 8,
  mac: 12, // u16: offset of the Ethernet header from the frame's start
  vlanTci: 24, // u16
  headerBytes: 32, // TPACKET_ALIGN(sizeof(struct tpacket2_hdr))
  type: 32 + 10, // sll_pkttype, one byte
} as const;

/** Receive ring. */
export const TP_STATUS_KERNEL = 0;
export const TP_STATUS_USER = 1;
export const TP_STATUS_VLAN_VALID = 1 << 4;

/** Transmit ring. */
export const TP_STATUS_AVAILABLE = 0;
export const TP_STATUS_SEND_REQUEST = 1;
export const TP_STATUS_WRONG_FORMAT = 4;
/** The bits above; a time stamp may set others. */
export const TP_STATUS_TRANSMIT = 7;

/** sll_pkttype. */
export const PACKET_HOST = 0;
export const PACKET_MULTICAST = 2;
export const PACKET_OTHERHOST = 3;

/**
 * struct virtio_net_hdr without num_buffers. In the receive ring the kernel writes it directly in front of the frame, whatever
 * PACKET_VNET_HDR_SZ says (tpacket_rcv: `h.raw + macoff - sizeof(struct virtio_net_hdr)`); in the transmit ring it
 * expects the frame PACKET_VNET_HDR_SZ bytes behind the header's start.
 */
export const RECEIVE_HEADER_BYTES = 10;

/** Where each frame of a ring starts in the mapping: none crosses from one block to the next. */
export function frameStarts({ start, blockBytes, frameBytes, frames }: PacketRing): Int32Array {
  const perBlock = Math.floor(blockBytes / frameBytes);
  return Int32Array.from(
    { length: frames },
    (_, index) =>
      start + Math.floor(index / perBlock) * blockBytes + (index % perBlock) * frameBytes,
  );
}
