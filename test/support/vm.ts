/**
 * A whole VM for tests: front-end, guest memory and the driver's receive and transmit queues of a virtio-net device. It does
 * what QEMU and Linux do, step by step, and each step can be done by hand instead.
 */
import type { DriverQueue } from './driver.ts';
import { PackedQueue } from './driver-packed.ts';
import { SplitQueue } from './driver-split.ts';
import { FrontEnd } from './frontend.ts';
import { GuestMemory, type MemoryOptions } from './memory.ts';
import { decodeNetHeader, encodeNetHeader, type NetHeader } from './net-header.ts';
import { isAnnouncement } from './packets.ts';
import { FEATURE, PROTOCOL_FEATURE, REQUEST, u64 } from './protocol.ts';
import { until } from './until.ts';

/** What a Linux guest of today acknowledges when everything is offered. */
export const LINUX_FEATURES =
  FEATURE.VERSION_1 |
  FEATURE.MRG_RXBUF |
  FEATURE.EVENT_IDX |
  FEATURE.INDIRECT_DESC |
  FEATURE.CSUM |
  FEATURE.GUEST_CSUM |
  FEATURE.HOST_TSO4 |
  FEATURE.HOST_TSO6 |
  FEATURE.HOST_ECN |
  FEATURE.GUEST_TSO4 |
  FEATURE.GUEST_TSO6 |
  FEATURE.GUEST_ECN |
  FEATURE.ANY_LAYOUT;

/** The least a modern driver acknowledges (iPXE). */
export const PLAIN_FEATURES = FEATURE.VERSION_1;

export const QEMU_PROTOCOL_FEATURES =
  PROTOCOL_FEATURE.MQ |
  PROTOCOL_FEATURE.LOG_SHMFD |
  PROTOCOL_FEATURE.RARP |
  PROTOCOL_FEATURE.REPLY_ACK |
  PROTOCOL_FEATURE.NET_MTU |
  PROTOCOL_FEATURE.RESET_DEVICE |
  PROTOCOL_FEATURE.CONFIGURE_MEM_SLOTS;

export interface VmOptions {
  /** Acknowledged as far as offered; bit 30 is added as QEMU >= 7.2 does. */
  features?: bigint;
  protocolFeatures?: bigint;
  /** Packed rings, which must be offered; else split ones. */
  packed?: boolean;
  memory?: MemoryOptions;
  queueSize?: number;
  pairs?: number;
  /** Bytes of each receive buffer; header included. */
  receiveBytes?: number;
  /** Bytes of each transmit descriptor's buffer. */
  transmitBytes?: number;
  /** Receive buffers to offer at once; default: as many as the queue has room for. */
  receiveBuffers?: number;
  /** Receive buffers as chains of several descriptors with these lengths. */
  receiveLayout?: readonly number[];
}

export interface SendOptions {
  header?: Partial<NetHeader>;
  /** Lengths of the descriptors, header included; the last one takes what is left. Default: header, then frame. */
  layout?: readonly number[];
  indirect?: boolean;
  pair?: number;
  publish?: boolean;
}

export interface Received {
  header: NetHeader;
  frame: Buffer;
  /** Buffers that it came in. */
  buffers: number;
  pair: number;
}

export class Vm {
  readonly frontEnd: FrontEnd;
  readonly memory: GuestMemory;
  readonly options: Required<Omit<VmOptions, 'memory' | 'receiveLayout'>>;
  readonly receiveLayout: readonly number[] | undefined;
  /** Offered by the back-end. */
  offered = 0n;
  offeredProtocol = 0n;
  /** Acknowledged. */
  features = 0n;
  /** Ring 2n receives, ring 2n+1 transmits. */
  queues: DriverQueue[] = [];
  received: Received[] = [];
  /** ARP announcements of the base, which an IP stack takes without a word to anybody. */
  announcements: Received[] = [];
  sent = 0;
  #closed = false;

  private constructor(frontEnd: FrontEnd, memory: GuestMemory, options: VmOptions) {
    this.frontEnd = frontEnd;
    this.memory = memory;
    this.receiveLayout = options.receiveLayout;
    this.options = {
      features: options.features ?? LINUX_FEATURES,
      protocolFeatures: options.protocolFeatures ?? QEMU_PROTOCOL_FEATURES,
      packed: options.packed ?? false,
      queueSize: options.queueSize ?? 256,
      pairs: options.pairs ?? 1,
      receiveBytes: options.receiveBytes ?? 2048,
      transmitBytes: options.transmitBytes ?? 2048,
      receiveBuffers: options.receiveBuffers ?? Number.POSITIVE_INFINITY,
    };
  }

  /** Connects only. */
  static async connect(path: string, options: VmOptions = {}): Promise<Vm> {
    const memory = new GuestMemory(options.memory);
    try {
      return new Vm(await FrontEnd.connect(path), memory, options);
    } catch (error) {
      memory.close();
      throw error;
    }
  }

  /** A running VM: QEMU's connect sequence, then its driver-OK sequence, receive buffers offered. */
  static async start(path: string, options: VmOptions = {}): Promise<Vm> {
    const vm = await Vm.connect(path, options);
    try {
      await vm.negotiate();
      await vm.run();
      return vm;
    } catch (error) {
      vm.close();
      throw error;
    }
  }

  /** The same guest on a new connection, with its memory and rings as they are (the back-end or the socket died). */
  async reconnect(path: string): Promise<Vm> {
    this.frontEnd.close();
    return this.#move(await FrontEnd.connect(path));
  }

  /** A running VM over a connection; `guest`: this one goes on, its rings behind what was given back, as QEMU restores them. */
  static async over(frontEnd: FrontEnd, guest?: Vm): Promise<Vm> {
    const vm = guest ? guest.#move(frontEnd) : new Vm(frontEnd, new GuestMemory(), {});
    try {
      await vm.negotiate();
      if (!guest) await vm.run();
      else {
        await vm.applyFeatures();
        await vm.shareMemory();
        for (let index = 0; index < vm.queues.length; index++) {
          await vm.startRing(index, vm.queues[index].usedBase);
          await vm.enable(index, true);
        }
      }
      return vm;
    } catch (error) {
      vm.close();
      throw error;
    }
  }

  #move(frontEnd: FrontEnd): Vm {
    this.frontEnd.close();
    const { memory, receiveLayout } = this;
    const vm = new Vm(frontEnd, memory, {
      ...this.options,
      ...(receiveLayout ? { receiveLayout } : {}),
    });
    vm.queues = this.queues;
    vm.received = this.received;
    vm.announcements = this.announcements;
    this.#closed = true;
    return vm;
  }

  get headerBytes(): 10 | 12 {
    return (this.features & (FEATURE.VERSION_1 | FEATURE.MRG_RXBUF)) !== 0n ? 12 : 10;
  }

  has(feature: bigint): boolean {
    return (this.features & feature) !== 0n;
  }

  receiveQueue(pair = 0): DriverQueue {
    return this.queues[2 * pair];
  }

  transmitQueue(pair = 0): DriverQueue {
    return this.queues[2 * pair + 1];
  }

  // --- the front-end's steps --------------------------------------------------------------------

  async negotiate(): Promise<void> {
    const { frontEnd, options } = this;
    const offer = await frontEnd.negotiate(options.protocolFeatures);
    this.offered = offer.features;
    this.offeredProtocol = offer.protocolFeatures;
    this.features =
      (options.features & offer.features) | (offer.features & FEATURE.PROTOCOL_FEATURES);
    if (options.packed) {
      if ((offer.features & FEATURE.RING_PACKED) === 0n) throw new Error('no packed rings offered');
      this.features |= FEATURE.RING_PACKED;
    }
    if (options.pairs > 1) {
      const pairs = await frontEnd.askNumber(REQUEST.GET_QUEUE_NUM);
      if (pairs < BigInt(options.pairs)) throw new Error(`only ${pairs} queue pairs`);
    }
  }

  /** Driver OK: queues made if there are none, features, memory, rings, enable; receive buffers offered. */
  async run(): Promise<void> {
    if (this.queues.length === 0) this.createQueues();
    await this.applyFeatures();
    await this.shareMemory();
    for (let pair = 0; pair < this.queues.length / 2; pair++) this.fillReceive(pair);
    for (let index = 0; index < this.queues.length; index++) {
      await this.startRing(index);
    }
    for (let index = 0; index < this.queues.length; index++) await this.enable(index, true);
  }

  createQueues(): void {
    const { queueSize: size, receiveBytes, transmitBytes, pairs } = this.options;
    const { features, memory } = this;
    const Queue = this.has(FEATURE.RING_PACKED) ? PackedQueue : SplitQueue;
    for (let pair = 0; pair < pairs; pair++) {
      this.queues.push(new Queue(memory, { size, features, slotBytes: receiveBytes }));
      this.queues.push(new Queue(memory, { size, features, slotBytes: transmitBytes }));
    }
  }

  async applyFeatures(): Promise<void> {
    for (const queue of this.queues) queue.features = this.features;
    const refused = await this.frontEnd.setFeatures(this.features);
    if (refused !== 0n) throw new Error('SET_FEATURES was refused');
  }

  /** By ADD_MEM_REG where CONFIGURE_MEM_SLOTS is acknowledged, else by SET_MEM_TABLE. */
  async shareMemory(): Promise<void> {
    const { frontEnd, memory } = this;
    if ((frontEnd.protocolFeatures & PROTOCOL_FEATURE.CONFIGURE_MEM_SLOTS) === 0n) {
      const refused = await frontEnd.setMemoryTable(memory.regions);
      if (refused !== 0n) throw new Error('SET_MEM_TABLE was refused');
      return;
    }
    for (const region of memory.regions) {
      const refused = await frontEnd.addRegion(region);
      if (refused !== 0n) throw new Error('ADD_MEM_REG was refused');
    }
  }

  /** NUM, BASE, ADDR, KICK, CALL, ERR of one ring, from its start or from a given base. */
  async startRing(index: number, base?: number): Promise<void> {
    const { frontEnd } = this;
    const queue = this.queues[index];
    const answers = [
      await frontEnd.setVringNumber(index, queue.size),
      await frontEnd.setVringBase(index, base ?? queue.freshBase),
      await this.setAddress(index),
      await frontEnd.setVringDescriptor(REQUEST.SET_VRING_ERR, index, queue.errorDescriptor),
      await frontEnd.setVringDescriptor(REQUEST.SET_VRING_KICK, index, queue.kickDescriptor),
      await frontEnd.setVringDescriptor(REQUEST.SET_VRING_CALL, index, queue.callDescriptor),
    ];
    if (answers.some((answer) => answer !== 0n)) throw new Error(`ring ${index}: ${answers}`);
  }

  /** As QEMU does, with the used ring to be logged where LOG_ALL was acknowledged. */
  setAddress(index: number): Promise<bigint> {
    const queue = this.queues[index];
    return this.frontEnd.setVringAddress({
      index,
      descriptors: this.memory.userAddress(queue.descriptorsAt),
      available: this.memory.userAddress(queue.availableAt),
      used: this.memory.userAddress(queue.usedAt),
      ...(this.has(FEATURE.LOG_ALL) && { flags: 1, log: BigInt(queue.usedAt) }),
    });
  }

  async enable(index: number, enable: boolean): Promise<void> {
    const refused = await this.frontEnd.setVringEnable(index, enable);
    if (refused !== 0n) throw new Error(`SET_VRING_ENABLE of ring ${index} was refused`);
  }

  /** GET_VRING_BASE; the base to start it again with. */
  stopRing(index: number): Promise<number> {
    return this.frontEnd.getVringBase(index);
  }

  async setMtu(mtu: number): Promise<bigint> {
    return this.frontEnd.order(REQUEST.NET_SET_MTU, u64(BigInt(mtu)));
  }

  // --- the driver's steps -----------------------------------------------------------------------

  /** Offers receive buffers until the queue is full or as many are out as the options allow. */
  fillReceive(pair = 0, kick = true): void {
    const queue = this.receiveQueue(pair);
    const layout = this.receiveLayout ?? [queue.slotBytes];
    while (queue.outstanding < this.options.receiveBuffers) {
      if (queue.add(layout.map((room) => ({ room }))) === null) break;
    }
    queue.wantInterrupt();
    queue.publish(kick);
  }

  /** Sends one frame; false when the queue has no room. */
  trySend(frame: Uint8Array, options: SendOptions = {}): boolean {
    const queue = this.transmitQueue(options.pair);
    this.reapTransmitted(options.pair);
    const header = encodeNetHeader(options.header ?? {}, this.headerBytes);
    const bytes = Buffer.concat([header, frame]);
    const parts = split(
      bytes,
      options.layout ?? [this.headerBytes, ...wholes(frame.length, queue.slotBytes)],
    );
    const indirect = options.indirect ?? false;
    if (
      queue.add(
        parts.map((data) => ({ data })),
        { indirect },
      ) === null
    )
      return false;
    if (options.publish !== false) queue.publish();
    this.sent++;
    return true;
  }

  async send(frame: Uint8Array, options: SendOptions = {}): Promise<void> {
    await until('room in the transmit queue', () => this.trySend(frame, options));
  }

  reapTransmitted(pair = 0): number {
    const queue = this.transmitQueue(pair);
    let count = 0;
    for (let used = queue.take(); used !== null; used = queue.take()) {
      if (used.length !== 0) throw new Error(`transmit chain used with length ${used.length}`);
      count++;
    }
    return count;
  }

  /** Resolves when the device has given back everything that was sent. */
  async untilSent(pair = 0): Promise<void> {
    await until('all transmit buffers to come back', () => {
      this.reapTransmitted(pair);
      return this.transmitQueue(pair).outstanding === 0;
    });
  }

  /** Takes what has arrived, offers the buffers again. Returns how many datagrams were new. */
  pollReceived(refill = true): number {
    let count = 0;
    for (let pair = 0; pair < this.queues.length / 2; pair++) {
      let taken = 0;
      const queue = this.receiveQueue(pair);
      for (let one = this.#takeReceived(pair); one !== null; one = this.#takeReceived(pair)) {
        taken++;
        if (isAnnouncement(one.frame)) {
          this.announcements.push(one);
          continue;
        }
        this.received.push(one);
        count++;
      }
      if (taken > 0 && refill) this.fillReceive(pair);
      queue.wantInterrupt();
    }
    return count;
  }

  #takeReceived(pair: number): Received | null {
    const queue = this.receiveQueue(pair);
    const first = queue.take();
    if (first === null) return null;
    const length = this.headerBytes;
    const bytes = [queue.written(first)];
    if (bytes[0].length < length) throw new Error(`received ${bytes[0].length} bytes: no header`);
    const header = decodeNetHeader(bytes[0], length);
    if (!this.has(FEATURE.MRG_RXBUF)) header.buffers = 1;
    if (header.buffers < 1) throw new Error('num_buffers is 0');
    for (let i = 1; i < header.buffers; i++) {
      const more = queue.take();
      if (more === null)
        throw new Error(`buffer ${i} of ${header.buffers} was not published with the first`);
      bytes.push(queue.written(more));
    }
    const frame = Buffer.concat(bytes).subarray(length);
    return { header, frame, buffers: header.buffers, pair };
  }

  /** The next datagram received, in order of arrival. */
  async receive(milliseconds?: number): Promise<Received> {
    await until(
      'a datagram',
      () => this.received.length > 0 || this.pollReceived() > 0,
      milliseconds,
    );
    return this.received.shift()!;
  }

  /** Drops the connection and frees everything. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.frontEnd.close();
    for (const queue of this.queues) queue.close();
    this.memory.close();
  }
}

/** Cuts bytes into pieces of the given lengths; the last piece takes what is left. */
export function split(bytes: Uint8Array, layout: readonly number[]): Uint8Array[] {
  const pieces: Uint8Array[] = [];
  let at = 0;
  layout.forEach((length, i) => {
    const end = i === layout.length - 1 ? bytes.length : Math.min(at + length, bytes.length);
    pieces.push(bytes.subarray(at, end));
    at = end;
  });
  return pieces;
}

function wholes(length: number, most: number): number[] {
  const pieces: number[] = [];
  for (let left = length; left > 0; left -= most) pieces.push(Math.min(left, most));
  return pieces;
}
