/**
 * A whole base in this process, its sockets included, that runs only when told to: one VM's front-end sends any message in any order, another
 * VM receives. No thread, no clock and no waiting, so that a hundred thousand sequences are soon done and each can be repeated.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Base } from '../../../src/base/base.ts';
import { type CELL, Counters, DROP_REASONS, type DropReason } from '../../../src/counters.ts';
import { native } from '../../../src/native.ts';
import { lanPlan } from '../../support/lan-plan.ts';
import type { DriverQueue } from '../../support/driver.ts';
import { PackedQueue } from '../../support/driver-packed.ts';
import { SplitQueue } from '../../support/driver-split.ts';
import { encodeMessage } from '../../support/frontend.ts';
import { GuestMemory } from '../../support/memory.ts';
import { isAnnouncement } from '../../support/packets.ts';
import {
  FEATURE,
  MESSAGE_FLAG,
  memoryTable,
  PROTOCOL_FEATURE,
  REQUEST,
  u64,
  vringAddress,
  vringState,
} from '../../support/protocol.ts';
import { A, B } from '../../support/traffic.ts';

export const SIZE = 16;
const HEADER = 12;
const SLOT = 512;
const EAGAIN = -11;

/** Everything that a session may acknowledge. */
export const ALL_PROTOCOL =
  PROTOCOL_FEATURE.MQ |
  PROTOCOL_FEATURE.LOG_SHMFD |
  PROTOCOL_FEATURE.RARP |
  PROTOCOL_FEATURE.REPLY_ACK |
  PROTOCOL_FEATURE.NET_MTU |
  PROTOCOL_FEATURE.RESET_DEVICE |
  PROTOCOL_FEATURE.CONFIGURE_MEM_SLOTS;

/** A VM's memory and rings, which outlive its connections, and the connection. All in step with the base: nothing waits. */
export class Peer {
  readonly memory: GuestMemory;
  /** Ring 0 receives, ring 1 transmits. */
  readonly rings: DriverQueue[];
  readonly features: bigint;
  closed = true;
  acknowledges = false;
  #fd = -1;
  readonly #bench: OrderBench;
  readonly #path: string;
  readonly #chunk = Buffer.alloc(4096);
  readonly #received = new Int32Array(1 + 253);
  #bytes = Buffer.alloc(0);

  constructor(bench: OrderBench, path: string, packed: boolean) {
    this.#bench = bench;
    this.#path = path;
    this.features =
      FEATURE.VERSION_1 | FEATURE.PROTOCOL_FEATURES | (packed ? FEATURE.RING_PACKED : 0n);
    this.memory = new GuestMemory({
      regions: [
        { guestAddress: 0, bytes: 0x4000 },
        { guestAddress: 0x100000, bytes: 0x10000 },
      ],
    });
    const options = { size: SIZE, features: this.features, slotBytes: SLOT };
    const Queue = packed ? PackedQueue : SplitQueue;
    this.rings = [new Queue(this.memory, options), new Queue(this.memory, options)];
  }

  /** A new connection; the driver's rings are as after a reset. */
  connect(): void {
    this.disconnect();
    this.#fd = native.unixConnect(this.#path);
    native.setNonBlocking(this.#fd);
    this.closed = false;
    this.acknowledges = false;
    this.#bytes = Buffer.alloc(0);
    for (const ring of this.rings) this.resetRing(ring);
    this.#bench.settle();
  }

  resetRing(ring: DriverQueue): void {
    ring.reset();
    native.drain(ring.kickDescriptor);
    native.drain(ring.callDescriptor);
    native.drain(ring.errorDescriptor);
  }

  disconnect(): void {
    if (this.#fd < 0) return;
    native.closeDescriptor(this.#fd);
    this.#fd = -1;
    this.closed = true;
    this.#bench.settle();
  }

  /** Sends a message, lets the base run; the reply's payload, or null when there is none. */
  exchange(
    request: number,
    payload: Buffer,
    descriptors: number[] = [],
    needReply = false,
  ): Buffer | null {
    const bytes = encodeMessage(request, payload, { needReply });
    const fds = descriptors.length > 0 ? Int32Array.from(descriptors) : null;
    const sent = native.send(this.#fd, bytes, 0, bytes.length, fds, descriptors.length);
    if (sent !== bytes.length) throw new Error(`the socket took ${sent} of ${bytes.length} bytes`);
    this.#bench.settle();
    this.#poll();
    if (this.#bytes.length < 12) return null;
    const size = this.#bytes.readUInt32LE(8);
    const flags = this.#bytes.readUInt32LE(4);
    if (this.#bytes.readUInt32LE(0) !== request || this.#bytes.length !== 12 + size)
      throw new Error('not the one reply to the request');
    if (flags !== (MESSAGE_FLAG.version | MESSAGE_FLAG.reply)) throw new Error(`flags ${flags}`);
    const body = this.#bytes.subarray(12);
    this.#bytes = Buffer.alloc(0);
    return body;
  }

  #poll(): void {
    for (;;) {
      const got = native.receive(this.#fd, this.#chunk, 0, this.#chunk.length, this.#received);
      if (got === EAGAIN) return;
      if (got <= 0) {
        this.closed = true;
        return;
      }
      this.#bytes = Buffer.concat([this.#bytes, this.#chunk.subarray(0, got)]);
      if (got < this.#chunk.length) return;
    }
  }

  /** A request without an answer of its own: true or false as acknowledged, null when not asked for or closed. */
  order(request: number, payload: Buffer, descriptors: number[] = []): boolean | null {
    const reply = this.exchange(request, payload, descriptors, this.acknowledges);
    return reply === null ? null : reply.readBigUInt64LE(0) === 0n;
  }

  address(index: number): Buffer {
    const ring = this.rings[index];
    return vringAddress({
      index,
      descriptors: this.memory.userAddress(ring.descriptorsAt),
      available: this.memory.userAddress(ring.availableAt),
      used: this.memory.userAddress(ring.usedAt),
    });
  }

  /** Offers input buffers as far as there is room. */
  fill(): void {
    const [ring] = this.rings;
    while (ring.add([{ room: SLOT }]) !== null);
    ring.publish();
  }

  /** Puts a frame into the output ring; false when it is full. */
  send(frame: Uint8Array): boolean {
    const [, ring] = this.rings;
    while (ring.take() !== null);
    if (ring.add([{ data: Buffer.concat([Buffer.alloc(HEADER), frame]) }]) === null) return false;
    ring.publish();
    return true;
  }

  /** Frames received, without what a guest is told when its rings go on; their buffers are offered again. */
  received(): Buffer[] {
    const [ring] = this.rings;
    const frames: Buffer[] = [];
    for (let used = ring.take(); used !== null; used = ring.take())
      frames.push(Buffer.from(ring.written(used).subarray(HEADER)));
    if (frames.length > 0) this.fill();
    return frames.filter((frame) => !isAnnouncement(frame));
  }

  /** As QEMU does it, for the VM that only plays along. */
  start(): void {
    this.connect();
    this.exchange(REQUEST.SET_PROTOCOL_FEATURES, u64(ALL_PROTOCOL));
    this.acknowledges = true;
    const answers = [
      this.order(REQUEST.SET_FEATURES, u64(this.features)),
      this.order(
        REQUEST.SET_MEM_TABLE,
        memoryTable(this.memory.regions),
        this.memory.regions.map(({ descriptor }) => descriptor),
      ),
      ...[0, 1].flatMap((ring) => [
        this.order(REQUEST.SET_VRING_NUM, vringState(ring, SIZE)),
        this.order(REQUEST.SET_VRING_ADDR, this.address(ring)),
        this.order(REQUEST.SET_VRING_BASE, vringState(ring, this.rings[ring].freshBase)),
        this.order(REQUEST.SET_VRING_KICK, u64(BigInt(ring)), [this.rings[ring].kickDescriptor]),
        this.order(REQUEST.SET_VRING_ENABLE, vringState(ring, 1)),
      ]),
    ];
    if (answers.some((answer) => answer !== true)) throw new Error(`start: ${answers}`);
    this.fill();
    this.#bench.settle();
  }

  close(): void {
    this.disconnect();
    for (const ring of this.rings) ring.close();
    this.memory.close();
  }
}

export class OrderBench {
  /** The VM under test, as a driver of either kind of rings. */
  readonly split: Peer;
  readonly packed: Peer;
  readonly b: Peer;
  readonly counters = new Counters(2);
  readonly #base: Base;
  readonly #folder = mkdtempSync(join(tmpdir(), 'basewire-order-'));
  #now = 1000;

  constructor() {
    const socket = {
      mode: 'server' as const,
      fd: -1,
      fileMode: 0o600,
      uid: -1,
      gid: -1,
      allowUids: null,
    };
    const vms = [A, B].map(({ ip, mac }, index) => ({
      name: 'ab'[index],
      addresses: [ip],
      mac,
      sockets: [{ ...socket, path: join(this.#folder, `${'ab'[index]}.sock`) }],
    }));
    this.#base = new Base(
      native,
      lanPlan(vms, { packed: true }),
      this.counters.buffer,
      () => {},
      () => this.#now,
    );
    this.#base.turn.attention.spin = 0.05;
    this.#base.open();
    this.split = new Peer(this, vms[0].sockets[0].path, false);
    this.packed = new Peer(this, vms[0].sockets[0].path, true);
    this.b = new Peer(this, vms[1].sockets[0].path, false);
    this.b.start();
  }

  /** Rounds of the worker's loop until there is nothing left to do. */
  settle(): void {
    const { turn, watcher } = this.#base;
    for (let quiet = 0; quiet < 2; ) {
      this.#now += 0.4;
      turn.time[0] = this.#now;
      const found = turn.run();
      turn.attention.quieten(false);
      this.#base.checkFaults();
      this.#base.tick(this.#now);
      const events = watcher.wait(0);
      quiet = found > 0 || events > 0 ? 0 : quiet + 1;
    }
  }

  /** Of VM a. */
  count(name: keyof typeof CELL): number {
    return this.counters.get(0, name);
  }

  /** Datagrams of VM a that were dropped. */
  drops(): number {
    const reasons = Object.keys(DROP_REASONS) as DropReason[];
    return reasons.reduce((sum, reason) => sum + this.count(reason), 0);
  }

  close(): void {
    for (const peer of [this.split, this.packed, this.b]) peer.close();
    this.#base.close();
    rmSync(this.#folder, { recursive: true, force: true });
  }
}
