/**
 * Puts frames on a wire as they are, virtio-net header included: a program that runs where the interface is (its first argument), reads lines of
 * JSON (frame in hex, header, how many times) and says when each is done. Slowly enough for a ring at the other end.
 */
import { createInterface } from 'node:readline';
import { TransmitRing } from '../../src/adapter/transmit-ring.ts';
import { native } from '../../src/native.ts';
import { BaseStorage, HEADER_BYTES } from '../../src/storage/base-storage.ts';
import { CopyList } from '../../src/storage/copy-list.ts';
import { encodeNetHeader, type NetHeader } from './net-header.ts';
import { pause, until } from './until.ts';

export interface Order {
  frame: string;
  header: Partial<NetHeader>;
  times: number;
}

const BATCH = 16;
const LIMIT = 1 << 18;

const { index } = native.interfaceInfo(process.argv[2]);
const { fd, receive, transmit, mapBytes, headerBytes } = native.packetOpen({
  interfaceIndex: index,
  blockBytes: 1 << 16,
  blocks: 2,
  retireMilliseconds: 1,
  frameBytes: 1 << 17,
  frames: 2 * BATCH,
  unicast: null,
});
const region = native.mapPacketRings(fd, mapBytes);
const { arena, rows } = native.createArena(LIMIT, 1024);
const storage = new BaseStorage(arena, LIMIT, 16);
const copies = new CopyList(native, rows);
const ring = new TransmitRing(
  native,
  fd,
  native.viewRegion(region, 0, mapBytes),
  region,
  receive.blockBytes * receive.blocks,
  transmit,
  headerBytes,
  storage,
  copies,
  1,
);

async function send({ frame, header, times }: Order): Promise<void> {
  const bytes = Buffer.from(frame, 'hex');
  storage.clear();
  const slot = storage.take(0, bytes.length);
  storage.bytes.set(bytes, storage.at[slot]);
  storage.bytes.set(encodeNetHeader(header, 12), storage.at[slot] - HEADER_BYTES);
  for (let sent = 0; sent < times; ) {
    copies.delivering = true;
    for (let left = Math.min(BATCH, times - sent); left > 0; left--, sent++) {
      if (ring.put(slot) !== 0) throw new Error('the ring is full');
    }
    copies.deliver();
    await until('the wire', () => {
      const result = ring.publish();
      if (result !== 0) throw new Error(`the wire says ${result}`);
      return !ring.needsKick;
    });
    await pause(1);
  }
  if (ring.refused > 0) throw new Error(`${ring.refused} frames were refused`);
}

let last = Promise.resolve();
createInterface({ input: process.stdin }).on('line', (line) => {
  const order = JSON.parse(line) as Order;
  last = last.then(() => send(order)).then(() => console.log('done'));
});
console.log('ready');
