/**
 * Feature bits by name, as two 32-bit halves: a JavaScript number's bit operations see 32 bits, and bit maths gone wrong
 * is the classic fault of this field. What we offer is a contract: QEMU refuses to reconnect a running guest to a
 * back-end that offers less than before, so these sets are the same after every restart.
 */

/** Virtio device feature bits (virtio 1.3 §5.1.3, §6) and vhost's own (LOG_ALL, PROTOCOL_FEATURES). */
export const FEATURE = {
  CSUM: 0,
  GUEST_CSUM: 1,
  MTU: 3,
  GUEST_TSO4: 7,
  GUEST_TSO6: 8,
  GUEST_ECN: 9,
  HOST_TSO4: 11,
  HOST_TSO6: 12,
  HOST_ECN: 13,
  MRG_RXBUF: 15,
  GUEST_ANNOUNCE: 21,
  MQ: 22,
  LOG_ALL: 26,
  ANY_LAYOUT: 27,
  INDIRECT_DESC: 28,
  EVENT_IDX: 29,
  PROTOCOL_FEATURES: 30,
  VERSION_1: 32,
  RING_PACKED: 34,
  IN_ORDER: 35,
} as const;

/** vhost-user protocol features (vhost-user.rst, "Protocol features"). */
export const PROTOCOL_FEATURE = {
  MQ: 0,
  LOG_SHMFD: 1,
  RARP: 2,
  REPLY_ACK: 3,
  NET_MTU: 4,
  RESET_DEVICE: 13,
  CONFIGURE_MEM_SLOTS: 15,
} as const;

/** A 64-bit set as two unsigned halves. */
export interface Bits {
  low: number;
  high: number;
}

/** A set from bit numbers, 0 to 63. */
export function bitsOf(numbers: Iterable<number>): Bits {
  let low = 0;
  let high = 0;
  for (const bit of numbers) {
    if (bit < 32) low = (low | (1 << bit)) >>> 0;
    else high = (high | (1 << (bit - 32))) >>> 0;
  }
  return { low, high };
}

/** True when a bit, 0 to 63, is set. */
export function has(bits: Bits, bit: number): boolean {
  return bit < 32 ? ((bits.low >>> bit) & 1) === 1 : ((bits.high >>> (bit - 32)) & 1) === 1;
}

/** True when every bit of `part` is in `whole`. */
export function isSubset(part: Bits, whole: Bits): boolean {
  return (part.low & ~whole.low) === 0 && (part.high & ~whole.high) === 0;
}

/** The device features a port offers; RING_PACKED only where the configuration asks (QEMU can't re-synchronise one). */
export function offeredFeatures(packed: boolean): Bits {
  const all: Bits = bitsOf(Object.values(FEATURE));
  if (packed) return all;
  return { low: all.low, high: (all.high & ~(1 << (FEATURE.RING_PACKED - 32))) >>> 0 };
}

export const OFFERED_PROTOCOL_FEATURES: Bits = bitsOf(Object.values(PROTOCOL_FEATURE));

/** Names of the bits set, for status and logs. */
export function featureNames(bits: Bits): string[] {
  return Object.entries(FEATURE)
    .filter(([, bit]) => has(bits, bit))
    .map(([name]) => name);
}
