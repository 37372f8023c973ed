/** The two packet sockets of an adapter: one with the rings, and the doorbell. */
import type { Native } from '../native.ts';
import { parseMac } from '../wire/mac.ts';

/** Descriptors; -1: none. */
export interface PacketSockets {
  rings: number;
  doorbell: number;
}

/** Packet sockets that were opened on an adapter's interface, with their rings' shapes and how the interface was then. */
export interface OpenedSockets {
  fd: number;
  doorbell: { fd: number; mapBytes: number };
  headerBytes: number;
  receive: { blockBytes: number; blocks: number };
  transmit: { frameBytes: number; frames: number };
  mapBytes: number;
  interfaceIndex: number;
  mac: string;
  mtu: number;
  up: boolean;
  /** auto: while the interface does not take long UDP frames, so that the kernel cuts what is coupled. */
  coupleUdp: boolean | 'auto';
  takesLongUdp: boolean;
}

export const NO_SOCKETS: PacketSockets = { rings: -1, doorbell: -1 };

/**
 * Closes them, their rings unmapped before: they receive nothing more and hold no memory, also where other descriptors of them stay
 * open; only a transmit ring of which frames are still with the interface stays until they are opened again. `mac`: of the adapter's own, or null; `interfaceIndex`: as they were bound last.
 */
export function closeSockets(
  native: Pick<Native, 'packetClose'>,
  { rings, doorbell }: PacketSockets,
  interfaceIndex: number,
  mac: string | null,
): void {
  if (rings >= 0) native.packetClose(rings, interfaceIndex, mac === null ? null : parseMac(mac));
  if (doorbell >= 0) native.packetClose(doorbell, interfaceIndex, null);
}
