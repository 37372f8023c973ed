/** The blocks of a TPACKET_V3 receive ring, filled as tpacket_rcv fills them, and the ring that reads them. */
import { expect } from 'vitest';
import { BLOCK, PACKET } from '../../src/adapter/packet-layout.ts';
import { ReceiveRing } from '../../src/adapter/receive-ring.ts';
import { Counters } from '../../src/counters.ts';
import type { Native } from '../../src/native.ts';
import { CopyList } from '../../src/storage/copy-list.ts';
import { dirtyStorage, frameOf } from './slots.ts';

export const BLOCK_BYTES = 4096;
export const BLOCKS = 3;
/** Of the frame in its packet, as with PACKET_VNET_HDR. */
const MAC = 94;

export interface Packet {
  frame: Uint8Array;
  /** sll_pkttype */
  type?: number;
  status?: number;
  vlan?: number;
  /** Length before the kernel cut it. */
  full?: number;
  mac?: number;
  next?: number;
}

/** Of a packet with a frame of `length` bytes. */
const sizeOf = (length: number) => (MAC + length + 7) & ~7;

/** What tpacket_rcv writes once there is room: header and frame, then the fields. */
function writePacket(
  view: DataView,
  bytes: Uint8Array,
  at: number,
  { frame, type, status, full, mac }: Packet,
): void {
  bytes.set([1, 0, 0x22, 0, 0, 0, 34, 0, 6, 0], at + MAC - 10);
  bytes.set(frame, at + MAC);
  view.setUint32(at + PACKET.status, status ?? 1, true);
  view.setUint32(at + PACKET.length, full ?? frame.length, true);
  view.setUint32(at + PACKET.capturedLength, frame.length, true);
  view.setUint16(at + PACKET.mac, mac ?? MAC, true);
  bytes[at + PACKET.type] = type ?? 0;
  view.setUint32(at + PACKET.interfaceIndex, 7, true);
}

export function receiveBlocks(slots = 64, rows = 64) {
  const memory = new ArrayBuffer(BLOCK_BYTES * BLOCKS);
  const view = new DataView(memory);
  const bytes = new Uint8Array(memory);
  const storage = dirtyStorage(1 << 16, slots);
  const counters = new Counters(1);
  const native = {
    gatherCopies: (count: number) => {
      for (let row = 0; row < count; row++) {
        const [region, arena, length] = copies.cells.subarray(row * 6 + 2, row * 6 + 5);
        expect(region).toBe(4);
        const from = copies.offsets[row * 3];
        storage.bytes.set(bytes.subarray(from, from + length), arena);
      }
      return 0;
    },
  } as unknown as Native;
  const copies = new CopyList(native, new ArrayBuffer(24 * rows));
  // As packetOpen leaves them.
  for (let block = 0; block < BLOCKS; block++)
    bytes.fill(0xff, block * BLOCK_BYTES + BLOCK.headerBytes, (block + 1) * BLOCK_BYTES);
  const shape = { blockBytes: BLOCK_BYTES, blocks: BLOCKS };
  const ring = new ReceiveRing(memory, 4, shape, 0, storage, copies, counters);
  return {
    ring,
    storage,
    counters,
    view,
    bytes,
    kernel: new Kernel(view, bytes),
    status: (block: number) => view.getUint32(block * BLOCK_BYTES + BLOCK.status, true),
    /** The kernel fills a block and hands it over. */
    fill(block: number, packets: Packet[]): void {
      const start = block * BLOCK_BYTES;
      bytes.fill(0xee, start, start + BLOCK_BYTES);
      let at = start + BLOCK.headerBytes;
      view.setUint32(start + BLOCK.packets, packets.length, true);
      view.setUint32(start + BLOCK.firstPacket, BLOCK.headerBytes, true);
      for (const [index, packet] of packets.entries()) {
        const size = sizeOf(packet.frame.length);
        const last = index === packets.length - 1;
        view.setUint32(at + PACKET.nextOffset, packet.next ?? (last ? 0 : size), true);
        view.setUint32(at + PACKET.vlanTci, packet.vlan ?? 0, true);
        writePacket(view, bytes, at, packet);
        at += size;
      }
      view.setUint32(start + BLOCK.status, 1, true);
    },
    take(datagrams = 100, budget = 1 << 20): Buffer[] {
      storage.clear();
      ring.gather(datagrams, budget);
      copies.gather();
      ring.release();
      return Array.from({ length: storage.count }, (_, slot) => frameOf(storage, slot));
    },
  };
}

/** Of a block that is not full. */
const TIME_IS_OVER = 1 | (1 << 5);

/** The kernel's side, step by step. */
export class Kernel {
  block = 0;
  private at = 0;
  private packets = 0;
  private last = 0;
  private readonly view: DataView;
  private readonly bytes: Uint8Array;

  constructor(view: DataView, bytes: Uint8Array) {
    this.view = view;
    this.bytes = bytes;
    this.open();
  }

  private get start(): number {
    return this.block * BLOCK_BYTES;
  }

  private get owned(): boolean {
    return (this.view.getUint32(this.start + BLOCK.status, true) & 1) === 0;
  }

  /** Bytes left in its block. */
  get room(): number {
    return this.start + BLOCK_BYTES - this.at;
  }

  /** prb_open_block: the header alone. */
  private open(): void {
    this.packets = 0;
    this.at = this.start + BLOCK.headerBytes;
    this.write(BLOCK.packets, 0);
    this.write(BLOCK.firstPacket, BLOCK.headerBytes);
    this.write(BLOCK.length, BLOCK.headerBytes);
  }

  private write(field: number, value: number): void {
    this.view.setUint32(this.start + field, value, true);
  }

  /** Makes room for a packet, as prb_fill_curr_block does; null when there is none: every block is waited for. */
  begin(length: number): { at: number; finish: (packet: Packet) => void } | null {
    const size = sizeOf(length);
    if (!this.owned) return null;
    if (this.at + size >= this.start + BLOCK_BYTES) {
      this.retire(1);
      if (!this.owned) return null;
    }
    const { at, view, bytes } = this;
    view.setUint32(at + PACKET.nextOffset, size, true);
    view.setUint32(at + PACKET.status, 0, true);
    view.setUint32(at + PACKET.vlanTci, 0, true);
    this.last = at;
    this.at += size;
    this.write(BLOCK.length, this.at - this.start);
    this.write(BLOCK.packets, ++this.packets);
    return { at, finish: (packet) => writePacket(view, bytes, at, packet) };
  }

  /** A whole packet; false when there was no room. */
  put(packet: Packet): boolean {
    const room = this.begin(packet.frame.length);
    room?.finish(packet);
    return room !== null;
  }

  /** prb_close_block: hands the block over, because its time is over unless told, when something is in it. */
  retire(status = TIME_IS_OVER): void {
    if (!this.owned || this.packets === 0) return;
    this.view.setUint32(this.last + PACKET.nextOffset, 0, true);
    this.write(BLOCK.status, status);
    this.block = (this.block + 1) % BLOCKS;
    if (this.owned) this.open();
    else this.packets = 0;
  }

  /** A block that was waited for may have come back. */
  thaw(): void {
    if (this.owned && this.packets === 0) this.open();
  }
}
