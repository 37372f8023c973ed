/**
 * The numbers of the vhost-user protocol and of virtio-net that a front-end needs, from QEMU's docs/interop/vhost-user.rst
 * and the virtio 1.3 specification. Kept apart from src/ on purpose: tests must not inherit its mistakes.
 */

export const REQUEST = {
  GET_FEATURES: 1,
  SET_FEATURES: 2,
  SET_OWNER: 3,
  RESET_OWNER: 4,
  SET_MEM_TABLE: 5,
  SET_LOG_BASE: 6,
  SET_LOG_FD: 7,
  SET_VRING_NUM: 8,
  SET_VRING_ADDR: 9,
  SET_VRING_BASE: 10,
  GET_VRING_BASE: 11,
  SET_VRING_KICK: 12,
  SET_VRING_CALL: 13,
  SET_VRING_ERR: 14,
  GET_PROTOCOL_FEATURES: 15,
  SET_PROTOCOL_FEATURES: 16,
  GET_QUEUE_NUM: 17,
  SET_VRING_ENABLE: 18,
  SEND_RARP: 19,
  NET_SET_MTU: 20,
  SET_BACKEND_REQ_FD: 21,
  IOTLB_MSG: 22,
  SET_VRING_ENDIAN: 23,
  GET_CONFIG: 24,
  SET_CONFIG: 25,
  CREATE_CRYPTO_SESSION: 26,
  CLOSE_CRYPTO_SESSION: 27,
  POSTCOPY_ADVISE: 28,
  POSTCOPY_LISTEN: 29,
  POSTCOPY_END: 30,
  GET_INFLIGHT_FD: 31,
  SET_INFLIGHT_FD: 32,
  GPU_SET_SOCKET: 33,
  RESET_DEVICE: 34,
  VRING_KICK: 35,
  GET_MAX_MEM_SLOTS: 36,
  ADD_MEM_REG: 37,
  REM_MEM_REG: 38,
  SET_STATUS: 39,
  GET_STATUS: 40,
  GET_SHARED_OBJECT: 41,
  SET_DEVICE_STATE_FD: 42,
  CHECK_DEVICE_STATE: 43,
} as const;

/** Requests whose answer is a body of their own (so no acknowledgement besides). */
export const ANSWERED: ReadonlySet<number> = new Set([
  REQUEST.GET_FEATURES,
  REQUEST.GET_VRING_BASE,
  REQUEST.GET_PROTOCOL_FEATURES,
  REQUEST.GET_QUEUE_NUM,
  REQUEST.GET_MAX_MEM_SLOTS,
  REQUEST.GET_STATUS,
  REQUEST.SET_LOG_BASE,
]);

export const MESSAGE_FLAG = { version: 1, reply: 4, needReply: 8 } as const;

const bit = (number: number) => 1n << BigInt(number);

export const FEATURE = {
  CSUM: bit(0),
  GUEST_CSUM: bit(1),
  MTU: bit(3),
  GUEST_TSO4: bit(7),
  GUEST_TSO6: bit(8),
  GUEST_ECN: bit(9),
  HOST_TSO4: bit(11),
  HOST_TSO6: bit(12),
  HOST_ECN: bit(13),
  MRG_RXBUF: bit(15),
  GUEST_ANNOUNCE: bit(21),
  MQ: bit(22),
  LOG_ALL: bit(26),
  ANY_LAYOUT: bit(27),
  INDIRECT_DESC: bit(28),
  EVENT_IDX: bit(29),
  PROTOCOL_FEATURES: bit(30),
  VERSION_1: bit(32),
  RING_PACKED: bit(34),
  IN_ORDER: bit(35),
} as const;

export const PROTOCOL_FEATURE = {
  MQ: bit(0),
  LOG_SHMFD: bit(1),
  RARP: bit(2),
  REPLY_ACK: bit(3),
  NET_MTU: bit(4),
  BACKEND_REQ: bit(5),
  PAGEFAULT: bit(8),
  CONFIG: bit(9),
  INFLIGHT_SHMFD: bit(12),
  RESET_DEVICE: bit(13),
  INBAND_NOTIFICATIONS: bit(14),
  CONFIGURE_MEM_SLOTS: bit(15),
  STATUS: bit(16),
  DEVICE_STATE: bit(19),
} as const;

/** In the u64 of SET_VRING_KICK, _CALL and _ERR: no descriptor comes along. */
export const NO_DESCRIPTOR = 0x100n;

export function u64(value: bigint): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt.asUintN(64, value));
  return bytes;
}

export function vringState(index: number, number: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeUInt32LE(index >>> 0, 0);
  bytes.writeUInt32LE(number >>> 0, 4);
  return bytes;
}

/** Ring addresses are front-end user addresses. */
export interface VringAddress {
  index: number;
  flags?: number;
  descriptors: bigint;
  used: bigint;
  available: bigint;
  log?: bigint;
}

export function vringAddress(fields: VringAddress): Buffer {
  const bytes = Buffer.alloc(40);
  bytes.writeUInt32LE(fields.index >>> 0, 0);
  bytes.writeUInt32LE(fields.flags ?? 0, 4);
  bytes.writeBigUInt64LE(BigInt.asUintN(64, fields.descriptors), 8);
  bytes.writeBigUInt64LE(BigInt.asUintN(64, fields.used), 16);
  bytes.writeBigUInt64LE(BigInt.asUintN(64, fields.available), 24);
  bytes.writeBigUInt64LE(BigInt.asUintN(64, fields.log ?? 0n), 32);
  return bytes;
}

export interface RegionFields {
  guestAddress: bigint;
  size: bigint;
  userAddress: bigint;
  mapOffset: bigint;
}

function region(fields: RegionFields): Buffer {
  const bytes = Buffer.alloc(32);
  bytes.writeBigUInt64LE(BigInt.asUintN(64, fields.guestAddress), 0);
  bytes.writeBigUInt64LE(BigInt.asUintN(64, fields.size), 8);
  bytes.writeBigUInt64LE(BigInt.asUintN(64, fields.userAddress), 16);
  bytes.writeBigUInt64LE(BigInt.asUintN(64, fields.mapOffset), 24);
  return bytes;
}

/** SET_MEM_TABLE; `count` may lie about how many regions follow. */
export function memoryTable(regions: readonly RegionFields[], count = regions.length): Buffer {
  const head = Buffer.alloc(8);
  head.writeUInt32LE(count >>> 0, 0);
  return Buffer.concat([head, ...regions.map(region)]);
}

/** ADD_MEM_REG and REM_MEM_REG. */
export function singleRegion(fields: RegionFields): Buffer {
  return Buffer.concat([Buffer.alloc(8), region(fields)]);
}
