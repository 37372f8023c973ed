/**
 * The adapter's receive ring: the base's input buffer. A TPACKET_V2 ring of frames that the kernel fills and hands over one by one, at
 * once (docs/decisions/0025-frames-at-once.md).
 *
 * The memory is the kernel's (mapped from the packet socket); the kernel is trusted, offsets are bounded all the same. A frame
 * stays ours until it has been copied into base storage: `gather` only notes the copies, `release` hands frames back.
 * Nothing is allocated in either.
 */
import { CELL, type Counters } from '../counters.ts';
import type { PacketRing } from '../native.ts';
import { type BaseStorage, HEADER_BYTES, MAX_FRAME_BYTES } from '../storage/base-storage.ts';
import type { CopyList } from '../storage/copy-list.ts';
import {
  frameStarts,
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
  private readonly starts: Int32Array;
  private readonly frameBytes: number;
  private readonly frames: number;
  private readonly port: number;
  private readonly storage: BaseStorage;
  private readonly copies: CopyList;
  private readonly cells: Float64Array;
  private readonly record: number;

  /** Frame that is looked at next, and how many before it were taken and not handed back yet. */
  private index = 0;
  private taken = 0;

  /**
   * Our own MAC as three little-endian halves, where it is not the interface's: the kernel then calls our frames
   * PACKET_OTHERHOST. -1 in the first: the interface's own is used.
   */
  private own0 = -1;
  private own1 = 0;
  private own2 = 0;

  /** `ring` is the whole mapping, `region` its number for the copies. `port` is also the counter record. */
  constructor(
    ring: ArrayBuffer,
    region: number,
    shape: PacketRing,
    port: number,
    storage: BaseStorage,
    copies: CopyList,
    counters: Counters,
  ) {
    this.words = new Int32Array(ring);
    this.halves = new Uint16Array(ring);
    this.bytes = new Uint8Array(ring);
    this.region = region;
    this.starts = frameStarts(shape);
    this.frameBytes = shape.frameBytes;
    this.frames = shape.frames;
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

  /** True when a frame waits. One load: cheap enough to poll. */
  hasWork(): boolean {
    return (
      this.taken < this.frames && (this.words[this.starts[this.index] >> 2] & TP_STATUS_USER) !== 0
    );
  }

  /**
   * Takes frames into base storage (slots, and one copy row each) until `datagrams` were looked at, `bytes` taken, storage is
   * full or nothing is left. Returns how many were looked at.
   */
  gather(datagrams: number, bytes: number): number {
    const { words, halves, storage, copies, cells, record } = this;
    let seen = 0;
    let received = 0;
    let receivedBytes = 0;
    while (seen < datagrams && receivedBytes < bytes && this.hasWork()) {
      const start = this.starts[this.index];
      const length = words[(start + PACKET.capturedLength) >> 2];
      const mac = halves[(start + PACKET.mac) >> 1];
      const frame = start + mac;
      const possible =
        mac > PACKET.type && (mac & 1) === 0 && length >= 0 && mac + length <= this.frameBytes;
      if (possible && this.isOurs(start, frame)) {
        const full = words[(start + PACKET.length) >> 2];
        const reason = this.refusal(start, length, full);
        if (reason !== 0) cells[record + reason]++;
        else {
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
      this.taken++;
      if (++this.index === this.frames) this.index = 0;
    }
    cells[record + CELL.receivedDatagrams] += received;
    cells[record + CELL.receivedBytes] += receivedBytes;
    return seen;
  }

  /** Hands back every frame that is now in base storage. Call after the copies were carried out: x86-64 lets no store pass their loads. */
  release(): void {
    let index = this.index - this.taken;
    if (index < 0) index += this.frames;
    for (; this.taken > 0; this.taken--) {
      this.words[this.starts[index] >> 2] = TP_STATUS_KERNEL;
      if (++index === this.frames) index = 0;
    }
  }

  /** The drop cell of a frame that can't be taken; 0 when it can. */
  private refusal(start: number, length: number, full: number): number {
    // VLAN id 0 is a priority tag: the frame belongs to no VLAN.
    if (
      (this.words[(start + PACKET.status) >> 2] & TP_STATUS_VLAN_VALID) !== 0 &&
      (this.halves[(start + PACKET.vlanTci) >> 1] & 0xfff) !== 0
    )
      return CELL.vlan;
    if (length < 14) return CELL.runt;
    return full !== length || length > MAX_FRAME_BYTES ? CELL.adapterTruncated : 0;
  }

  /** Is it for us: not what others on this host sent, nor what the interface got for somebody else. */
  private isOurs(start: number, frame: number): boolean {
    const type = this.bytes[start + PACKET.type];
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
