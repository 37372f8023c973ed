/**
 * The adapter's receive ring: the base's input buffer. A TPACKET_V3 ring of blocks that the kernel fills and hands over.
 *
 * The memory is the kernel's (mapped from the packet socket); the kernel is trusted, offsets are bounded all the same. A block
 * stays ours until its datagrams have been copied into base storage: `gather` only notes the copies, `release` hands blocks back.
 * Nothing is allocated in either.
 */
import { CELL, type Counters } from '../counters.ts';
import { type BaseStorage, HEADER_BYTES, MAX_FRAME_BYTES } from '../storage/base-storage.ts';
import type { CopyList } from '../storage/copy-list.ts';
import {
  BLOCK,
  PACKET,
  PACKET_MULTICAST,
  PACKET_OTHERHOST,
  RECEIVE_HEADER_BYTES,
  TP_STATUS_KERNEL,
  TP_STATUS_USER,
  TP_STATUS_VLAN_VALID,
} from './packet-layout.ts';

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
  private readonly record: number;

  /** Block that is being read, how many of its packets are left (0: not entered), and where the next one starts. */
  private block = 0;
  private left = 0;
  private packet = 0;
  /** Blocks read to their end and not handed back yet: the `finished` ones before `block`. */
  private finished = 0;

  /**
   * Our own MAC as three little-endian halves, where it is not the interface's: the kernel then calls our frames
   * PACKET_OTHERHOST. -1 in the first: the interface's own is used.
   */
  private own0 = -1;
  private own1 = 0;
  private own2 = 0;

  /** `ring` starts at offset 0 of `region`. `port` is also the counter record. */
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
    this.port = port;
    this.storage = storage;
    this.copies = copies;
    this.cells = counters.cells;
    this.record = counters.base(port);
  }

  /** Takes only frames for this unicast MAC (and broadcast and multicast), which is not the interface's. */
  setOwnMac(halves: Uint16Array): void {
    this.own0 = halves[0];
    this.own1 = halves[1];
    this.own2 = halves[2];
  }

  /** True when a block waits. One load: cheap enough to poll. */
  hasWork(): boolean {
    if (this.left > 0) return true;
    const status = (this.block * this.blockBytes + BLOCK.status) >> 2;
    return (this.words[status] & TP_STATUS_USER) !== 0;
  }

  /**
   * Takes frames into base storage (slots, and one copy row each) until `datagrams` were looked at, `bytes` taken, storage is
   * full or nothing is left. Returns how many were looked at. A block left in the middle is gone on with next time.
   */
  gather(datagrams: number, bytes: number): number {
    const { words, halves, storage, copies, cells, record } = this;
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
        this.finish();
        continue;
      }
      if (this.isOurs(packet, frame)) {
        const full = words[(packet + PACKET.length) >> 2];
        if ((words[(packet + PACKET.status) >> 2] & TP_STATUS_VLAN_VALID) !== 0) {
          // VLAN id 0 is a priority tag: the frame belongs to no VLAN.
          if ((words[(packet + PACKET.vlanTci) >> 2] & 0xfff) !== 0) {
            cells[record + CELL.vlan]++;
            received++;
            receivedBytes += full;
            seen++;
            this.next(packet, end);
            continue;
          }
        }
        if (full !== length || length > MAX_FRAME_BYTES || length < 14) {
          cells[record + (length < 14 ? CELL.runt : CELL.adapterTruncated)]++;
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
      }
      seen++;
      this.next(packet, end);
    }
    cells[record + CELL.receivedDatagrams] += received;
    cells[record + CELL.receivedBytes] += receivedBytes;
    return seen;
  }

  /** Hands back every block whose datagrams are now in base storage. Call after the copies were carried out. */
  release(): void {
    let block = this.block - this.finished;
    if (block < 0) block += this.blocks;
    for (; this.finished > 0; this.finished--) {
      const status = (block * this.blockBytes + BLOCK.status) >> 2;
      Atomics.store(this.words, status, TP_STATUS_KERNEL);
      if (++block === this.blocks) block = 0;
    }
  }

  /** Enters the next block that has packets; false when none is ready. */
  private enter(): boolean {
    while (this.finished < this.blocks) {
      const start = this.block * this.blockBytes;
      if ((Atomics.load(this.words, (start + BLOCK.status) >> 2) & TP_STATUS_USER) === 0) {
        return false;
      }
      const first = this.words[(start + BLOCK.firstPacket) >> 2];
      const packets = this.words[(start + BLOCK.packets) >> 2];
      if (packets > 0 && this.fits(start + first, start, start + this.blockBytes)) {
        this.left = packets;
        this.packet = start + first;
        return true;
      }
      this.finish();
    }
    return false;
  }

  /** A packet's header lies inside its block, aligned. */
  private fits(packet: number, start: number, end: number): boolean {
    return packet >= start + BLOCK.headerBytes && packet + PACKET.type < end && (packet & 3) === 0;
  }

  /** Goes on to the packet behind this one, or out of the block. */
  private next(packet: number, end: number): void {
    const offset = this.words[(packet + PACKET.nextOffset) >> 2];
    if (--this.left > 0 && offset > 0 && this.fits(packet + offset, end - this.blockBytes, end)) {
      this.packet = packet + offset;
    } else {
      this.finish();
    }
  }

  private finish(): void {
    this.left = 0;
    this.finished++;
    if (++this.block === this.blocks) this.block = 0;
  }

  /** Is it for us: not what others on this host sent, nor what the interface got for somebody else. */
  private isOurs(packet: number, frame: number): boolean {
    const type = this.bytes[packet + PACKET.type];
    if (type > PACKET_OTHERHOST) return false;
    if (this.own0 < 0) return type !== PACKET_OTHERHOST;
    // With a MAC of our own, PACKET_HOST is the host's and PACKET_OTHERHOST may be ours.
    if (type !== PACKET_OTHERHOST && type !== 0) return type <= PACKET_MULTICAST;
    const half = frame >> 1;
    return (
      this.halves[half] === this.own0 &&
      this.halves[half + 1] === this.own1 &&
      this.halves[half + 2] === this.own2
    );
  }
}
