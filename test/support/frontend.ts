/**
 * QEMU's side of the vhost-user socket: sends messages with descriptors, takes replies, and can send any bytes at all.
 * Owns its socket; descriptors that are passed stay the caller's.
 */
import { native, type Waiter } from '../../src/native.ts';
import {
  ANSWERED,
  FEATURE,
  MESSAGE_FLAG,
  memoryTable,
  PROTOCOL_FEATURE,
  REQUEST,
  type RegionFields,
  singleRegion,
  u64,
  type VringAddress,
  vringAddress,
  vringState,
} from './protocol.ts';
import { pause, until } from './until.ts';

export interface Reply {
  request: number;
  flags: number;
  payload: Buffer;
  descriptors: number[];
}

export interface MessageOptions {
  descriptors?: readonly number[];
  needReply?: boolean;
  /** Instead of version 1 (and NEED_REPLY). */
  flags?: number;
  /** Instead of the payload's length. */
  size?: number;
}

/** The bytes of one message, honest or not. */
export function encodeMessage(
  request: number,
  payload: Uint8Array = new Uint8Array(0),
  options: MessageOptions = {},
): Buffer {
  const head = Buffer.alloc(12);
  const flags = MESSAGE_FLAG.version | (options.needReply ? MESSAGE_FLAG.needReply : 0);
  head.writeUInt32LE(request >>> 0, 0);
  head.writeUInt32LE((options.flags ?? flags) >>> 0, 4);
  head.writeUInt32LE((options.size ?? payload.length) >>> 0, 8);
  return Buffer.concat([head, payload]);
}

/** The connection ended while something was awaited. */
export class ConnectionClosed extends Error {
  override name = 'ConnectionClosed';
}

const EAGAIN = -11;
const EPIPE = -32;
const ECONNRESET = -104;
const DEADLINE = 12000;

export class FrontEnd {
  readonly socket: number;
  /** The back-end closed the connection. */
  closed = false;
  /** Acknowledged by us. */
  features = 0n;
  protocolFeatures = 0n;
  #buffered = Buffer.alloc(0);
  #descriptors: number[] = [];
  readonly #chunk = Buffer.alloc(65536);
  readonly #received = new Int32Array(1 + 253);
  readonly #waiter: Waiter;
  #ended = false;

  constructor(socket: number) {
    this.socket = socket;
    native.setNonBlocking(socket);
    this.#waiter = native.createWaiter(1);
    this.#waiter.add(socket, 0, 1, false);
  }

  /** Connects to a listening back-end, waiting until its socket is there. */
  static async connect(path: string): Promise<FrontEnd> {
    const socket = await until(`a back-end that listens on ${path}`, () => {
      try {
        return { fd: native.unixConnect(path) };
      } catch (error) {
        const code = (error as NodeJS.ErrnoException).code;
        if (code === 'ENOENT' || code === 'ECONNREFUSED' || code === 'EAGAIN') return null;
        throw error;
      }
    });
    return new FrontEnd(socket.fd);
  }

  // --- bytes ------------------------------------------------------------------------------------

  /** One sendmsg; bytes taken or -errno. */
  trySend(bytes: Uint8Array, descriptors: readonly number[] = []): number {
    const fds = descriptors.length > 0 ? Int32Array.from(descriptors) : null;
    return native.send(this.socket, bytes, 0, bytes.length, fds, descriptors.length);
  }

  /** Sends all bytes, the descriptors with the first. Throws ConnectionClosed when the peer has gone. */
  async sendBytes(bytes: Uint8Array, descriptors: readonly number[] = []): Promise<void> {
    let at = 0;
    const end = performance.now() + DEADLINE;
    while (at < bytes.length) {
      const sent = this.trySend(bytes.subarray(at), at === 0 ? descriptors : []);
      if (sent > 0) at += sent;
      else if (sent === EPIPE || sent === ECONNRESET) throw new ConnectionClosed('while sending');
      else if (sent !== EAGAIN) throw new Error(`sendmsg: ${sent}`);
      else if (performance.now() > end) throw new Error('the back-end does not read');
      else await pause();
    }
  }

  /** Takes in what is there without waiting. */
  poll(): void {
    while (!this.closed) {
      const got = native.receive(this.socket, this.#chunk, 0, this.#chunk.length, this.#received);
      if (got === EAGAIN) return;
      if (got <= 0) {
        this.closed = true;
        return;
      }
      this.#buffered = Buffer.concat([this.#buffered, this.#chunk.subarray(0, got)]);
      for (let i = 0; i < this.#received[0]; i++) this.#descriptors.push(this.#received[1 + i]);
    }
  }

  /** The next whole reply, or null. */
  take(): Reply | null {
    const bytes = this.#buffered;
    if (bytes.length < 12) return null;
    const size = bytes.readUInt32LE(8);
    if (bytes.length < 12 + size) return null;
    this.#buffered = bytes.subarray(12 + size);
    return {
      request: bytes.readUInt32LE(0),
      flags: bytes.readUInt32LE(4),
      payload: Buffer.from(bytes.subarray(12, 12 + size)),
      descriptors: this.#descriptors.splice(0),
    };
  }

  /** Waits for the next reply; throws ConnectionClosed when the back-end closes instead. */
  async reply(milliseconds = DEADLINE): Promise<Reply> {
    const end = performance.now() + milliseconds;
    for (;;) {
      const reply = this.take();
      if (reply !== null) return reply;
      if (this.closed) throw new ConnectionClosed('instead of a reply');
      this.#waiter.wait(500);
      this.poll();
      if (performance.now() > end) throw new Error(`no reply within ${milliseconds} ms`);
      await pause();
    }
  }

  /** Resolves when the back-end has closed the connection. */
  async untilClosed(milliseconds = DEADLINE): Promise<void> {
    await until(
      'the back-end to close the connection',
      () => {
        this.poll();
        return this.closed;
      },
      milliseconds,
    );
  }

  /** Bytes received that are no whole reply yet. */
  get pendingBytes(): number {
    return this.#buffered.length;
  }

  close(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#waiter.remove(this.socket);
    this.#waiter.close();
    native.closeDescriptor(this.socket);
    for (const fd of this.#descriptors.splice(0)) native.closeDescriptor(fd);
  }

  // --- messages ---------------------------------------------------------------------------------

  /** Sends one message and expects nothing. */
  async send(request: number, payload?: Uint8Array, options: MessageOptions = {}): Promise<void> {
    await this.sendBytes(encodeMessage(request, payload, options), options.descriptors);
  }

  /** Sends a message that has an answer, and checks the answer's frame as strictly as QEMU does. */
  async ask(request: number, payload?: Uint8Array, options: MessageOptions = {}): Promise<Reply> {
    await this.send(request, payload, options);
    const reply = await this.reply();
    if (reply.request !== request) {
      throw new Error(`reply to request ${reply.request} instead of ${request}`);
    }
    if (reply.flags !== (MESSAGE_FLAG.version | MESSAGE_FLAG.reply)) {
      throw new Error(`reply flags 0x${reply.flags.toString(16)} instead of 0x5`);
    }
    return reply;
  }

  async askNumber(
    request: number,
    payload?: Uint8Array,
    options?: MessageOptions,
  ): Promise<bigint> {
    const reply = await this.ask(request, payload, options);
    if (reply.payload.length !== 8) {
      throw new Error(`reply of ${reply.payload.length} bytes instead of 8`);
    }
    return reply.payload.readBigUInt64LE(0);
  }

  /**
   * A request without an answer of its own: with REPLY_ACK acknowledged it asks for one and returns it (0n: done, else
   * refused); without, it is followed by GET_FEATURES as a fence, as QEMU does, and returns 0n.
   */
  async order(
    request: number,
    payload?: Uint8Array,
    descriptors: readonly number[] = [],
  ): Promise<bigint> {
    if (ANSWERED.has(request)) throw new Error(`request ${request} has an answer of its own`);
    if (this.acknowledges) {
      return this.askNumber(request, payload, { descriptors, needReply: true });
    }
    await this.send(request, payload, { descriptors });
    await this.getFeatures();
    return 0n;
  }

  get acknowledges(): boolean {
    return (this.protocolFeatures & PROTOCOL_FEATURE.REPLY_ACK) !== 0n;
  }

  getFeatures(): Promise<bigint> {
    return this.askNumber(REQUEST.GET_FEATURES);
  }

  async setFeatures(features: bigint): Promise<bigint> {
    this.features = features;
    return this.order(REQUEST.SET_FEATURES, u64(features));
  }

  getProtocolFeatures(): Promise<bigint> {
    return this.askNumber(REQUEST.GET_PROTOCOL_FEATURES);
  }

  /** Without acknowledgement, as QEMU sends it. */
  async setProtocolFeatures(features: bigint): Promise<void> {
    await this.send(REQUEST.SET_PROTOCOL_FEATURES, u64(features));
    this.protocolFeatures = features;
  }

  setOwner(): Promise<void> {
    return this.send(REQUEST.SET_OWNER);
  }

  setMemoryTable(regions: readonly (RegionFields & { descriptor: number })[]): Promise<bigint> {
    return this.order(
      REQUEST.SET_MEM_TABLE,
      memoryTable(regions),
      regions.map((region) => region.descriptor),
    );
  }

  addRegion(region: RegionFields & { descriptor: number }): Promise<bigint> {
    return this.order(REQUEST.ADD_MEM_REG, singleRegion(region), [region.descriptor]);
  }

  removeRegion(region: RegionFields): Promise<bigint> {
    return this.order(REQUEST.REM_MEM_REG, singleRegion(region));
  }

  setVringNumber(index: number, size: number): Promise<bigint> {
    return this.order(REQUEST.SET_VRING_NUM, vringState(index, size));
  }

  setVringBase(index: number, base: number): Promise<bigint> {
    return this.order(REQUEST.SET_VRING_BASE, vringState(index, base));
  }

  setVringAddress(fields: VringAddress): Promise<bigint> {
    return this.order(REQUEST.SET_VRING_ADDR, vringAddress(fields));
  }

  setVringEnable(index: number, enable: boolean): Promise<bigint> {
    return this.order(REQUEST.SET_VRING_ENABLE, vringState(index, enable ? 1 : 0));
  }

  /** Kick, call or err descriptor of a ring. */
  setVringDescriptor(request: number, index: number, descriptor: number): Promise<bigint> {
    return this.order(request, u64(BigInt(index)), [descriptor]);
  }

  /** Stops a ring; the index of the next available entry that would have been taken. */
  async getVringBase(index: number): Promise<number> {
    const reply = await this.ask(REQUEST.GET_VRING_BASE, vringState(index, 0));
    if (reply.payload.length !== 8) throw new Error('GET_VRING_BASE: reply is not 8 bytes');
    if (reply.payload.readUInt32LE(0) !== index) {
      throw new Error(
        `GET_VRING_BASE of ring ${index} answered for ${reply.payload.readUInt32LE(0)}`,
      );
    }
    return reply.payload.readUInt32LE(4);
  }

  /**
   * QEMU's steps at connect, up to and including SET_OWNER, with the protocol features wanted (those not offered are left
   * out). Returns the features that the back-end offers.
   */
  async negotiate(wanted: bigint): Promise<{ features: bigint; protocolFeatures: bigint }> {
    const features = await this.getFeatures();
    let protocolFeatures = 0n;
    if ((features & FEATURE.PROTOCOL_FEATURES) !== 0n) {
      protocolFeatures = await this.getProtocolFeatures();
      await this.setProtocolFeatures(protocolFeatures & wanted);
    }
    await this.setOwner();
    return { features, protocolFeatures };
  }
}
