/**
 * The adapter's receive ring: the base's input buffer. A TPACKET_V3 ring of blocks that the kernel fills and hands over.
 *
 * The memory is the kernel's (mapped from the packet socket); the kernel is trusted, offsets are bounded all the same. A block
 * stays ours until its datagrams have been copied into base storage: `gather` only notes the copies, `release` hands blocks back.
 * Nothing is allocated in either.
 *
 * The kernel hands a block over when it is full or a millisecond (on many kernels: a tick, 4 or 10 of them) is over. A packet need not
 * wait for that: a block that goes back is blank, all ones, and a packet in it is there as soon as every field that the kernel writes
 * behind its bytes has another value (tpacket_rcv; x86-64 shows stores in their order). Blocks that came full are
 * not made blank: at that rate the next one comes soon, and reading lines that the kernel is writing would only slow it down. The last frames of
 * a burst wait for their block, therefore, and so does a lone one behind it, once in each block that came full.
 */
import { CELL, type Counters } from '../counters.ts';
import { type BaseStorage, HEADER_BYTES, MAX_FRAME_BYTES } from '../storage/base-storage.ts';
import type { CopyList } from '../storage/copy-list.ts';
import { HEADER_BYTES as ETHERNET_HEADER_BYTES } from '../wire/ethernet.ts';
import {
  BLOCK,
  PACKET,
  RECEIVE_HEADER_BYTES,
  TP_STATUS_BLK_TMO,
  TP_STATUS_KERNEL,
  TP_STATUS_USER,
  TP_STATUS_VLAN_VALID,
} from './packet-layout.ts';

const ADAPTER_TRUNCATED = CELL.adapterTruncated;
const RECEIVED_BYTES = CELL.receivedBytes;
const RECEIVED_DATAGRAMS = CELL.receivedDatagrams;
const RUNT = CELL.runt;
const VLAN = CELL.vlan;

/** A word of ones. */
const BLANK = -1;

export class ReceiveRing {
  private readonly words: Int32Array;
  private readonly halves: Uint16Array;
  private readonly bytes: Uint8Array;
  private readonly region: number;
  private readonly blockBytes: number;
  private readonly blocks: number;
  private readonly port: number;
  private readonly storage: BaseStorage;
  private readonly copies: CopyList;
  private readonly cells: Float64Array;
  private readonly firstCell: number;

  /**
   * Block that is being read, how many packets were taken out of it, where the next one starts, and how many are known to be left: of
   * a block that is still the kernel's, one that was seen to be there.
   */
  private block = 0;
  private taken = 0;
  private packet: number = BLOCK.headerBytes;
  private left = 0;
  /** They are left of a block that is still the kernel's. */
  private ahead = false;
  /** Blocks of ones, but for what the kernel wrote since. */
  private readonly blank: Uint8Array;
  /** Blocks read to their end and not handed back yet: the `finished` ones before `block`. */
  private finished = 0;

  /** `ring` starts at offset 0 of `region`; its blocks are blank. `port`: of the adapter, also the number of its counter record. */
  constructor(
    ring: ArrayBuffer,
    region: number,
    shape: { blockBytes: number; blocks: number },
    port: number,
    storage: BaseStorage,
    copies: CopyList,
    counters: Counters,
  ) {
    const length = shape.blockBytes * shape.blocks;
    this.words = new Int32Array(ring, 0, length >> 2);
    this.halves = new Uint16Array(ring, 0, length >> 1);
    this.bytes = new Uint8Array(ring, 0, length);
    this.region = region;
    this.blockBytes = shape.blockBytes;
    this.blocks = shape.blocks;
    this.blank = new Uint8Array(shape.blocks).fill(1);
    this.port = port;
    this.storage = storage;
    this.copies = copies;
    this.cells = counters.cells;
    this.firstCell = counters.firstCell(port);
  }

  /** True when a packet or a block waits. A few loads: cheap enough to poll. */
  hasWork(): boolean {
    if (this.left > 0) return true;
    const start = this.block * this.blockBytes;
    if ((this.words[(start + BLOCK.status) >> 2] & TP_STATUS_USER) !== 0) return true;
    return this.blank[this.block] !== 0 && this.isThere(start);
  }

  /** A frame in the block that the kernel is filling can be found before that is handed over. */
  get readsAhead(): boolean {
    return this.blank[this.block] !== 0;
  }

  /**
   * Takes frames into base storage (slots, and one copy row each) until `datagrams` were looked at, `bytes` taken, storage is
   * full or nothing is left. Returns how many were looked at. A block left in the middle is gone on with next time.
   */
  gather(datagrams: number, bytes: number): number {
    const { words, halves, storage, copies, cells, firstCell } = this;
    let seen = 0;
    let received = 0;
    let receivedBytes = 0;
    while (seen < datagrams && receivedBytes < bytes) {
      if (this.left === 0 && !this.enter()) break;
      const packet = this.packet;
      const end = (this.block + 1) * this.blockBytes;
      const length = words[(packet + PACKET.capturedLength) >> 2];
      const frame = packet + halves[(packet + PACKET.mac) >> 1];
      // A packet that the kernel made room for and then could not describe in a virtio-net header (UDP fragmentation offload, SCTP): what
      // lies there is of an earlier packet. The kernel counted it as dropped.
      if ((words[(packet + PACKET.status) >> 2] & TP_STATUS_USER) === 0) {
        seen++;
        this.next(packet, end);
        continue;
      }
      const bad =
        length < 0 || frame < packet + PACKET.type || (frame & 1) !== 0 || frame + length > end;
      if (bad) {
        this.giveUp(end);
        continue;
      }
      const full = words[(packet + PACKET.length) >> 2];
      if ((words[(packet + PACKET.status) >> 2] & TP_STATUS_VLAN_VALID) !== 0) {
        // VLAN id 0 is a priority tag: the frame belongs to no VLAN.
        if ((words[(packet + PACKET.vlanTci) >> 2] & 0xfff) !== 0) {
          cells[firstCell + VLAN]++;
          received++;
          receivedBytes += full;
          seen++;
          this.next(packet, end);
          continue;
        }
      }
      if (full !== length || length > MAX_FRAME_BYTES || length < ETHERNET_HEADER_BYTES) {
        cells[firstCell + (length < ETHERNET_HEADER_BYTES ? RUNT : ADAPTER_TRUNCATED)]++;
      } else {
        if (copies.count >= copies.rows) copies.gather();
        const slot = storage.take(this.port, length);
        if (slot < 0) break;
        const at = storage.at[slot];
        const to = (at - HEADER_BYTES) >> 1;
        const from = (frame - RECEIVE_HEADER_BYTES) >> 1;
        const target = storage.halves;
        target[to] = halves[from];
        target[to + 1] = halves[from + 1];
        target[to + 2] = halves[from + 2];
        target[to + 3] = halves[from + 3];
        target[to + 4] = halves[from + 4];
        target[to + 5] = 0;
        copies.add(this.region, frame, at, length);
      }
      received++;
      receivedBytes += full;
      seen++;
      this.next(packet, end);
    }
    cells[firstCell + RECEIVED_DATAGRAMS] += received;
    cells[firstCell + RECEIVED_BYTES] += receivedBytes;
    // A block in which nothing new was found goes back at once: nothing is to be copied, and while it is ours the kernel would wake us for it.
    if (seen === 0 && this.finished > 0) this.release();
    return seen;
  }

  /** Hands back every block whose datagrams are now in base storage. Call after the copies were carried out. */
  release(): void {
    const { words, blank, blockBytes } = this;
    let block = this.block - this.finished;
    if (block < 0) block += this.blocks;
    for (; this.finished > 0; this.finished--) {
      const start = block * blockBytes;
      const status = (start + BLOCK.status) >> 2;
      if ((words[status] & TP_STATUS_BLK_TMO) !== 0) {
        const written = words[(start + BLOCK.length) >> 2];
        const used = blank[block] !== 0 && written >= 0 && written < blockBytes;
        words.fill(
          BLANK,
          (start + BLOCK.headerBytes) >> 2,
          (start + (used ? written : blockBytes)) >> 2,
        );
        blank[block] = 1;
      } else blank[block] = 0;
      Atomics.store(words, status, TP_STATUS_KERNEL);
      if (++block === this.blocks) block = 0;
    }
  }

  /** Finds the next packet: in a block that was handed over, or in the one that the kernel is filling. False when none is there. */
  private enter(): boolean {
    while (this.finished < this.blocks) {
      const start = this.block * this.blockBytes;
      const end = start + this.blockBytes;
      if ((Atomics.load(this.words, (start + BLOCK.status) >> 2) & TP_STATUS_USER) === 0) {
        if (this.blank[this.block] === 0 || !this.isThere(start)) return false;
        this.ahead = true;
        this.left = 1;
        return true;
      }
      const left = this.words[(start + BLOCK.packets) >> 2] - this.taken;
      if (this.taken === 0) this.packet = start + this.words[(start + BLOCK.firstPacket) >> 2];
      this.ahead = false;
      if (left > 0 && this.fits(this.packet, start, end)) {
        this.left = left;
        return true;
      }
      this.finish();
    }
    return false;
  }

  /**
   * The next packet of the block at `start`, which is blank and the kernel's, is complete. Nothing is read before: the kernel writes the
   * status first and says in it that it will write, then the packet, and these fields last, in an order that is the compiler's.
   */
  private isThere(start: number): boolean {
    const { words, packet } = this;
    if (!this.fits(packet, start, start + this.blockBytes)) return false;
    const status = words[(packet + PACKET.status) >> 2];
    return (
      status !== BLANK &&
      (status & TP_STATUS_USER) !== 0 &&
      words[(packet + PACKET.capturedLength) >> 2] !== BLANK &&
      words[(packet + PACKET.length) >> 2] !== BLANK &&
      this.halves[(packet + PACKET.mac) >> 1] !== 0xffff &&
      words[(packet + PACKET.interfaceIndex) >> 2] !== BLANK &&
      this.bytes[packet + PACKET.type] !== 0xff
    );
  }

  /** A packet's header lies inside its block, aligned. */
  private fits(packet: number, start: number, end: number): boolean {
    return packet >= start + BLOCK.headerBytes && packet + PACKET.type < end && (packet & 3) === 0;
  }

  /** Goes on to the packet behind this one, or out of the block. */
  private next(packet: number, end: number): void {
    const offset = this.words[(packet + PACKET.nextOffset) >> 2];
    const fits = offset > 0 && this.fits(packet + offset, end - this.blockBytes, end);
    this.packet = fits ? packet + offset : end;
    this.taken++;
    this.left--;
    if (!this.ahead && (this.left === 0 || !fits)) this.finish();
  }

  /** What can't be a packet was found in the block that ends at `end`: nothing more is read in it. */
  private giveUp(end: number): void {
    this.packet = end;
    this.left = 0;
    if (!this.ahead) this.finish();
  }

  private finish(): void {
    this.left = 0;
    this.taken = 0;
    this.finished++;
    if (++this.block === this.blocks) this.block = 0;
    this.packet = this.block * this.blockBytes + BLOCK.headerBytes;
  }
}
