/**
 * Reading and writing payload fields, and refusing a request.
 */
import type { Bits } from '../virtio/features.ts';

/** Thrown by a handler: the request is refused, nothing has changed. The sentence goes to the log, behind the request's name. */
export class Refused extends Error {
  override name = 'Refused';
}

/** A u64 as a number; refused when it is not below 2^53, as no address or size here can be. */
export function u64(payload: DataView, at: number, what: string): number {
  const high = payload.getUint32(at + 4, true);
  if (high >= 0x200000) throw new Refused(`${what} is 2^53 or more`);
  return high * 4294967296 + payload.getUint32(at, true);
}

/** A u64 as a set of bits. */
export function bits(payload: DataView, at: number): Bits {
  return { low: payload.getUint32(at, true), high: payload.getUint32(at + 4, true) };
}

/** The payload of a u64 reply. */
export function u64Reply(low: number, high = 0): Uint8Array {
  const bytes = new Uint8Array(8);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, low, true);
  view.setUint32(4, high, true);
  return bytes;
}

/** Takes a descriptor over from the message: it is the caller's now. */
export function takeDescriptor(descriptors: number[], index: number): number {
  const fd = descriptors[index];
  descriptors[index] = -1;
  return fd;
}
