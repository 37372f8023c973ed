/**
 * The adapter's transmit ring: the adapter's output buffer. Frames of fixed size behind the receive ring in the same mapping.
 *
 * `put` reserves a frame and notes its copy; after the copies `publish` marks what was put and asks the kernel once to send. The
 * kernel reads a frame only inside that call, so a frame marked but not taken is ours again when we say so (`rewind`).
 *
 * The kernel stops at the first frame that it can't send and never steps over it: TP_STATUS_WRONG_FORMAT, or TP_STATUS_SEND_REQUEST
 * again when the queueing discipline or the driver threw it away (ENOBUFS). Such a frame is taken out, and those behind it move up, as nothing is to
 * overtake them: a few at a time, as the kernel takes them, so that little is moved in a turn, however much waits. Nothing is allocated here.
 *
 * A frame carries one datagram, or a train of them (`udp-train.ts`).
 *
 *     held by the driver | pending: marked, not taken yet | reserved: put in this turn | free
 *     ^ oldest           ^ head                                                          (and round)
 *
 * Where some were refused, pending may be in two parts: those that follow the head at once (near), and behind a gap the others.
 *
 * Where most of it is in use, what is left is shared out (`storage/shared-room.ts`); and if much of that was put in this turn, it is sent
 * before the turn ends.
 */
import { CELL } from '../counters.ts';
import { EAGAIN, ENETDOWN, ENODEV, ENXIO } from '../errno.ts';
import type { Native } from '../native.ts';
import { type BaseStorage, HEADER_BYTES } from '../storage/base-storage.ts';
import type { CopyList } from '../storage/copy-list.ts';
import { BASE } from '../storage/outbox.ts';
import { SharedRoom } from '../storage/shared-room.ts';
import * as ethernet from '../wire/ethernet.ts';
import * as ipv4 from '../wire/ipv4.ts';
import { HDR_LEN } from '../wire/virtio-net-header.ts';
import {
  PACKET,
  TP_STATUS_AVAILABLE,
  TP_STATUS_SEND_REQUEST,
  TP_STATUS_TRANSMIT,
  TP_STATUS_WRONG_FORMAT,
} from './packet-layout.ts';
import { TRAIN_HEADERS, type UdpTrain, writeTrainHeaders } from './udp-train.ts';

/** Of the ring, what is for those who have little there. */
const KEPT = 1 / 8;
/** Of the ring, what is sent before the turn ends, at the least. */
const AT_ONCE = 1 / 4;

/** Frames that one `publish` gives up at most before it leaves the rest to the next turn. */
const REFUSALS_A_KICK = 32;
/** Frames that move up at once behind those that were refused, and their bytes: with the next refusal they move once more. */
const MOVED_FRAMES = 16;
const MOVED_BYTES = 128 << 10;

/**
 * Frames up to this length are to lie in the kernel's buffer as a whole. What it does not copy there it refers to, page by page, and
 * whoever looks at a header behind the Ethernet header has to pull it out of the page again: a third of the time of a short frame.
 */
const LINEAR_BYTES = 2048;

const ADAPTER_FULL = CELL.adapterFull;
const TOO_BIG = CELL.tooBig;

export class TransmitRing {
  private readonly words: Int32Array;
  private readonly halves: Uint16Array;
  private readonly bytes: Uint8Array;
  private readonly native: Native;
  private readonly fd: number;
  private readonly region: number;
  private readonly start: number;
  private readonly frameBytes: number;
  private readonly frames: number;
  /** Frames that are on their way. */
  private readonly room: SharedRoom;
  private readonly atOnce: number;
  private readonly headerBytes: number;
  private readonly storage: BaseStorage;
  private readonly copies: CopyList;
  private train: UdpTrain | null = null;

  /** The frame that the kernel looks at next. */
  private head = 0;
  /** Frames that are marked for sending and not taken yet: near ones from `head` on, and those behind the gap. */
  private pending = 0;
  /** Frames behind those that were put in this turn. */
  private reserved = 0;
  /** Frames in front of `head` that the driver may still hold. */
  private held = 0;
  /** Places of frames that were given up, in front of those pending ones that have not moved up yet. They count as the base's. */
  private gap = 0;
  /** Pending frames in front of the gap; all of them where there is none. */
  private near = 0;
  /** What the kernel said when it was asked in the midst of a turn, until `publish` tells. */
  private failure = 0;
  /** Datagrams in each frame, and the data bytes of each where that is more than one. */
  private readonly datagrams: Uint8Array;
  private readonly sizes: Uint16Array;
  /** Who sent what is in each frame. */
  private readonly froms: Int32Array;
  /** Longest content of a frame, behind the ring's own header. */
  private readonly longest: number;
  /** Datagrams that the kernel, the queueing discipline or the driver refused, since the start. */
  refused = 0;
  /** The kernel refused a train: it does not know UDP segmentation (Linux has since 6.2), and gets no more of them. */
  trainRefused = false;

  /** `ring` is the whole mapping; frames start at byte `start` of it. Senders are -1 (the base) to `senders` - 1. */
  constructor(
    native: Native,
    fd: number,
    ring: ArrayBuffer,
    region: number,
    start: number,
    shape: { frameBytes: number; frames: number },
    headerBytes: number,
    storage: BaseStorage,
    copies: CopyList,
    senders: number,
  ) {
    this.words = new Int32Array(ring);
    this.halves = new Uint16Array(ring);
    this.bytes = new Uint8Array(ring);
    this.native = native;
    this.fd = fd;
    this.region = region;
    this.start = start;
    this.frameBytes = shape.frameBytes;
    this.frames = shape.frames;
    const forAll = Math.ceil(shape.frames * (1 - KEPT));
    this.room = new SharedRoom(shape.frames, forAll, senders);
    this.froms = new Int32Array(shape.frames);
    this.atOnce = Math.ceil(shape.frames * AT_ONCE);
    this.headerBytes = headerBytes;
    this.storage = storage;
    this.copies = copies;
    this.datagrams = new Uint8Array(shape.frames);
    this.sizes = new Uint16Array(shape.frames);
    const longest = headerBytes + ethernet.HEADER_BYTES + ipv4.MAX_TOTAL_BYTES;
    this.longest = Math.min(shape.frameBytes - PACKET.headerBytes, longest);
  }

  /** Between two turns: couples datagrams of one UDP flow from now on (null: no longer), unless the kernel has refused them. */
  useTrain(train: UdpTrain | null): void {
    if (!this.trainRefused) this.train = train;
  }

  /** True while frames are marked that the kernel has not taken: `publish` again soon. */
  get needsKick(): boolean {
    return this.pending > 0;
  }

  /** Nothing was put, nothing waits, and nothing is to be told. */
  get isEmpty(): boolean {
    return this.reserved === 0 && this.pending === 0 && this.failure === 0;
  }

  /**
   * Reserves a frame for the datagram and adds its copy; 0, or the drop cell (adapterFull, tooBig). Where the ring is nearly full by
   * what was put in this turn, that is copied and sent.
   */
  put(slot: number): number {
    if (this.train !== null && this.couple(slot)) return 0;
    const length = this.storage.length[slot] + this.headerBytes;
    if (length > this.longest) return TOO_BIG;
    const from = this.storage.from[slot];
    if (this.room.used >= this.room.forAll) {
      this.makeRoom();
      if (!this.room.mayTake(from, 1)) return ADAPTER_FULL;
    }
    let index = this.head + this.gap + this.pending + this.reserved;
    if (index >= this.frames) index -= this.frames;
    const frame = this.start + index * this.frameBytes;
    const { words } = this;
    words[(frame + PACKET.nextOffset) >> 2] = 0;
    words[(frame + PACKET.length) >> 2] = length;
    const { at: ats, halves } = this.storage;
    const at = ats[slot];
    // hdr_len says how much the kernel copies (tpacket_snd); a datagram to be segmented has its headers' length there already.
    const hint = (at - HEADER_BYTES + HDR_LEN) >> 1;
    if (halves[hint] === 0) halves[hint] = Math.min(this.storage.length[slot], LINEAR_BYTES);
    const data = frame + PACKET.headerBytes;
    if (this.copies.count + 2 > this.copies.rows) this.copies.deliver();
    if (this.headerBytes === HEADER_BYTES) {
      this.copies.add(this.region, data, at - HEADER_BYTES, length);
    } else {
      this.copies.add(this.region, data, at - HEADER_BYTES, this.headerBytes);
      this.copies.add(this.region, data + this.headerBytes, at, length - this.headerBytes);
    }
    this.datagrams[index] = 1;
    this.froms[index] = from;
    this.room.take(from, 1);
    this.reserved++;
    if (this.train !== null) this.train.begin(slot);
    return 0;
  }

  /** Adds the data of a datagram to the frame that was reserved last, if it belongs there. */
  private couple(slot: number): boolean {
    const train = this.train!;
    if (this.reserved === 0) return false;
    const index = (this.head + this.gap + this.pending + this.reserved - 1) % this.frames;
    const frame = this.start + index * this.frameBytes;
    const length = this.words[(frame + PACKET.length) >> 2];
    const data = this.storage.length[slot] - TRAIN_HEADERS;
    if (length + data > this.longest || !train.couple(slot)) return false;
    if (this.copies.count === this.copies.rows) this.copies.deliver();
    const at = this.storage.at[slot] + TRAIN_HEADERS;
    this.copies.add(this.region, frame + PACKET.headerBytes + length, at, data);
    this.words[(frame + PACKET.length) >> 2] = length + data;
    this.datagrams[index]++;
    this.sizes[index] = train.size;
    return true;
  }

  /**
   * Marks what was put and asks the kernel to send all that is marked. 0, or -errno when the interface is down (ENETDOWN) or
   * away (ENXIO, ENODEV). What the kernel has no room for now stays (`needsKick`).
   */
  publish(): number {
    const result = this.send();
    const earlier = this.failure;
    this.failure = 0;
    return earlier === 0 ? result : earlier;
  }

  /** Takes back what the driver is done with, and has the kernel send what was put where that is not enough. */
  private makeRoom(): void {
    this.reclaim();
    if (this.room.used < this.room.forAll || this.reserved < this.atOnce) return;
    this.copies.deliver();
    const result = this.send();
    if (result !== 0) this.failure = result;
    this.reclaim();
  }

  private reclaim(): void {
    let index = this.head - this.held;
    if (index < 0) index += this.frames;
    while (this.held > 0) {
      const status = this.words[this.statusOf(index)];
      if ((status & TP_STATUS_TRANSMIT) !== TP_STATUS_AVAILABLE) return;
      this.room.give(this.froms[index], 1);
      this.held--;
      if (++index === this.frames) index = 0;
    }
  }

  private send(): number {
    for (; this.reserved > 0; this.reserved--, this.pending++) {
      const index = (this.head + this.gap + this.pending) % this.frames;
      const frame = this.start + index * this.frameBytes;
      // Only now: before, the first datagram's own headers were still to be copied there.
      if (this.datagrams[index] > 1) this.finishTrain(index, frame);
      this.words[(frame + PACKET.status) >> 2] = TP_STATUS_SEND_REQUEST;
    }
    this.train?.end();
    if (this.pending === 0) return 0;
    if (this.gap === 0) this.near = this.pending;
    let refusals = 0;
    let result = 0;
    while (this.pending > 0) {
      if (this.near === 0) this.moveUp();
      result = this.native.packetSend(this.fd);
      this.advance();
      if (this.near === 0) continue;
      if (result === 0 || result === EAGAIN || isAway(result)) break;
      if (refusals++ === REFUSALS_A_KICK) break;
      this.giveUpHead();
    }
    if (this.near === this.pending) this.closeGap();
    return isAway(result) ? result : 0;
  }

  /** Takes back every frame that the kernel has not taken (the interface is down); how many datagrams. */
  rewind(): number {
    const before = this.refused;
    for (let index = this.head; this.pending > 0; index++) {
      if (this.near-- === 0) index += this.gap;
      this.giveUp(index);
    }
    this.near = 0;
    this.closeGap();
    return this.refused - before;
  }

  private finishTrain(index: number, frame: number): void {
    const header = frame + PACKET.headerBytes;
    const length = this.words[(frame + PACKET.length) >> 2] - this.headerBytes;
    writeTrainHeaders(this.halves, header, header + this.headerBytes, length, this.sizes[index]);
  }

  /** Steps over the frames that the kernel took. */
  private advance(): void {
    while (this.near > 0) {
      const status = this.words[this.statusOf(this.head)];
      if ((status & (TP_STATUS_SEND_REQUEST | TP_STATUS_WRONG_FORMAT)) !== 0) return;
      this.pending--;
      this.near--;
      this.held++;
      if (++this.head === this.frames) this.head = 0;
    }
  }

  /** Gives up the frame at the head, which the kernel refused. Those that had moved up behind it move up once more; the others do when their turn comes. */
  private giveUpHead(): void {
    const { head, datagrams } = this;
    if ((this.words[this.statusOf(head)] & TP_STATUS_WRONG_FORMAT) !== 0 && datagrams[head] > 1) {
      this.trainRefused = true;
      this.train = null;
    }
    this.giveUp(head);
    const again = this.gap === 0 ? 0 : this.near - 1;
    this.gap++;
    this.room.take(BASE, 1);
    for (this.near = 0; this.near < again; this.near++)
      this.move(head + this.near + 1, head + this.near);
  }

  /** Moves some pending frames, one at least, from behind the gap to the head. Behind the last one there is none. */
  private moveUp(): void {
    const most = Math.min(this.pending, MOVED_FRAMES);
    for (let moved = 0; this.near < most && moved < MOVED_BYTES; this.near++) {
      const to = this.head + this.near;
      this.move(to + this.gap, to);
      moved += this.words[this.lengthOf(to)];
    }
    if (this.near === this.pending) this.closeGap();
  }

  private closeGap(): void {
    this.room.give(BASE, this.gap);
    this.gap = 0;
  }

  /** Counts the pending frame in place `index` as refused, and frees the place. */
  private giveUp(index: number): void {
    const place = index % this.frames;
    this.refused += this.datagrams[place];
    this.room.give(this.froms[place], 1);
    this.words[this.statusOf(place)] = TP_STATUS_AVAILABLE;
    this.pending--;
  }

  private statusOf(index: number): number {
    return (this.start + (index % this.frames) * this.frameBytes + PACKET.status) >> 2;
  }

  private lengthOf(index: number): number {
    return (this.start + (index % this.frames) * this.frameBytes + PACKET.length) >> 2;
  }

  /** A pending frame into another place, which is free, in front of its own. */
  private move(from: number, to: number): void {
    const { frames, words } = this;
    const source = this.start + (from % frames) * this.frameBytes;
    const target = this.start + (to % frames) * this.frameBytes;
    const length = words[(source + PACKET.length) >> 2];
    const data = source + PACKET.headerBytes;
    this.bytes.copyWithin(target + PACKET.headerBytes, data, data + length);
    words[(target + PACKET.length) >> 2] = length;
    words[(target + PACKET.status) >> 2] = TP_STATUS_SEND_REQUEST;
    words[(source + PACKET.status) >> 2] = TP_STATUS_AVAILABLE;
    this.datagrams[to % frames] = this.datagrams[from % frames];
    this.sizes[to % frames] = this.sizes[from % frames];
    this.froms[to % frames] = this.froms[from % frames];
  }
}

/** The interface is down or gone. */
function isAway(result: number): boolean {
  return result === ENETDOWN || result === ENXIO || result === ENODEV;
}
