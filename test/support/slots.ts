/** Base storage for tests that need no addon: frames in, frames out. The arena is dirty, as it is in a running base. */
import { expect } from 'vitest';
import { BaseStorage, HEADER_BYTES } from '../../src/storage/base-storage.ts';
import { decodeNetHeader, encodeNetHeader, type NetHeader } from './net-header.ts';

export const DIRT = 0xa5;

export function dirtyStorage(limit = 1 << 20, slots = 1024): BaseStorage {
  const storage = new BaseStorage(new ArrayBuffer(limit + 4096), limit, slots);
  storage.bytes.fill(DIRT);
  return storage;
}

/** Puts a frame and its virtio-net header into a fresh slot. */
export function putFrame(
  storage: BaseStorage,
  frame: Uint8Array,
  header: Partial<NetHeader> = {},
  from = 3,
): number {
  const slot = storage.take(from, frame.length);
  if (slot < 0) throw new Error('storage full');
  storage.bytes.set(frame, storage.at[slot]);
  storage.bytes.set(encodeNetHeader(header, 12), storage.at[slot] - HEADER_BYTES);
  storage.to[slot] = -3;
  return slot;
}

/** A copy of a slot's frame. */
export function frameOf(storage: BaseStorage, slot: number): Buffer {
  const at = storage.at[slot];
  return Buffer.from(storage.bytes.slice(at, at + storage.length[slot]));
}

/** `toEqual` for many bytes in many runs: compares them natively first. */
export function expectBytes(actual: Uint8Array, expected: Uint8Array): void {
  if (Buffer.compare(actual, expected) !== 0) expect(actual).toEqual(expected);
}

/** A slot's virtio-net header. */
export function headerOf(storage: BaseStorage, slot: number): NetHeader {
  const at = storage.at[slot];
  return decodeNetHeader(Buffer.from(storage.bytes.slice(at - HEADER_BYTES, at)), 12);
}
