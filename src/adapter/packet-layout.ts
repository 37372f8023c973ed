/**
 * Where things are in an AF_PACKET ring (linux/if_packet.h, TPACKET_V3), in bytes from the start of a block or of a packet,
 * and the status bits. Little-endian, as everywhere.
 */

/** struct tpacket_block_desc with struct tpacket_hdr_v1. */
export const BLOCK = {
  status: 8,
  packets: 12,
  firstPacket: 16,
  length: 20, // with this header and every packet
  headerBytes: 48,
} as const;

/** struct tpacket3_hdr, followed on the receive side by struct sockaddr_ll. */
export const PACKET = {
  nextOffset: 0,
  capturedLength: 12,
  length: 16,
  status: 20,
  mac: 24, // u16: offset of the Ethernet header from the packet's start
  vlanTci: 32,
  headerBytes: 48, // TPACKET_ALIGN(sizeof(struct tpacket3_hdr))
  interfaceIndex: 48 + 4, // sll_ifindex
  type: 48 + 10, // sll_pkttype, one byte
} as const;

/** Receive ring: block status (0 = the kernel's) and packet status. */
export const TP_STATUS_KERNEL = 0;
export const TP_STATUS_USER = 1;
export const TP_STATUS_VLAN_VALID = 1 << 4;
/** Of a block: handed over because its time was over, not because it was full. */
export const TP_STATUS_BLK_TMO = 1 << 5;

/** Transmit ring: frame status. */
export const TP_STATUS_AVAILABLE = 0;
export const TP_STATUS_SEND_REQUEST = 1;
export const TP_STATUS_WRONG_FORMAT = 4;
/** The bits above; a time stamp may set others. */
export const TP_STATUS_TRANSMIT = 7;

/**
 * struct virtio_net_hdr without num_buffers. In the receive ring the kernel writes it directly in front of the frame, whatever
 * PACKET_VNET_HDR_SZ says (tpacket_rcv: `h.raw + macoff - sizeof(struct virtio_net_hdr)`); in the transmit ring it
 * expects the frame PACKET_VNET_HDR_SZ bytes behind the header's start.
 */
export const RECEIVE_HEADER_BYTES = 10;
