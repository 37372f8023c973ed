/**
 * Bytes and descriptors from the socket into whole messages (vhost-user.rst, "Message Specification").
 *
 *     | u32 request | u32 flags | u32 size | size bytes of payload |      native endian
 *
 * Descriptors come with the first byte of a header; anywhere else they are a protocol error. The header is read alone and
 * its size checked before a payload byte is read, so nothing is ever allocated by what the peer says.
 */
import { EAGAIN, EINTR, EMFILE, EMSGSIZE } from '../errno.ts';
import type { Native } from '../native.ts';

export const HEADER_BYTES = 12;
/** The longest payload we know is SET_MEM_TABLE's with eight regions: 264 bytes. */
const MAX_PAYLOAD = 4096;
/** SCM_MAX_FD: the kernel passes no more in one message (unix(7)). */
export const MAX_DESCRIPTORS = 253;

const VERSION = 1;
const VERSION_MASK = 3;
const REPLY = 4;
export const NEED_REPLY = 8;

/** Outcome of `Framing.read`. */
export const MESSAGE = 1; // a whole message stands in the fields
export const NOTHING = 0; // the rest has not come yet
export const ENDED = -1; // the peer closed, or the socket failed
export const MALFORMED = -2; // framing is lost: only closing helps

export class Framing {
  request = 0;
  flags = 0;
  size = 0;
  /** The payload: `size` bytes from 0. */
  readonly payload = new DataView(new ArrayBuffer(MAX_PAYLOAD));
  /** Descriptors of this message; whoever keeps one sets its place to -1, `closeDescriptors` closes the others. */
  descriptors: number[] = [];
  /** What was wrong, after MALFORMED. */
  fault = '';
  /** Part of a message has come and the rest has not. */
  partial = false;

  private readonly native: Native;
  private readonly vm: number;
  private readonly header = new Uint8Array(HEADER_BYTES);
  private readonly headerView = new DataView(this.header.buffer);
  private readonly body = new Uint8Array(this.payload.buffer);
  private readonly received = new Int32Array(1 + MAX_DESCRIPTORS);
  private have = 0;

  /** `vm`: whose descriptors come in. */
  constructor(native: Native, vm: number) {
    this.native = native;
    this.vm = vm;
  }

  /** Reads on, never blocks. After MESSAGE the fields are valid until the next call. */
  read(fd: number): number {
    if (!this.partial) {
      this.closeDescriptors();
      this.have = 0;
    }
    while (this.have < HEADER_BYTES) {
      const outcome = this.receive(fd, this.header, this.have, HEADER_BYTES - this.have);
      if (outcome !== MESSAGE) return outcome;
      if (this.have < HEADER_BYTES) continue;
      this.request = this.headerView.getUint32(0, true);
      this.flags = this.headerView.getUint32(4, true);
      this.size = this.headerView.getUint32(8, true);
      if ((this.flags & (VERSION_MASK | REPLY)) !== VERSION || this.flags >>> 4 !== 0) {
        return this.malformed(
          `message flags 0x${this.flags.toString(16)}: not a request of version 1`,
        );
      }
      if (this.size > MAX_PAYLOAD)
        return this.malformed(`message size ${this.size} is more than ${MAX_PAYLOAD}`);
    }
    while (this.have < HEADER_BYTES + this.size) {
      const at = this.have - HEADER_BYTES;
      const outcome = this.receive(fd, this.body, at, this.size - at);
      if (outcome !== MESSAGE) return outcome;
    }
    this.partial = false;
    return MESSAGE;
  }

  /** Closes the descriptors of the last message that nobody kept. */
  closeDescriptors(): void {
    for (const fd of this.descriptors) if (fd >= 0) this.native.closePassed(fd, this.vm);
    this.descriptors.length = 0;
  }

  private receive(fd: number, into: Uint8Array, at: number, length: number): number {
    const count = this.native.receive(fd, into, at, length, this.received);
    if (count <= 0) {
      if (count === EAGAIN || count === EINTR) return NOTHING;
      // The peer did nothing wrong.
      if (count === EMFILE)
        throw new Error(
          'a descriptor that came along can’t be had: none is left (ulimit -n), or a security module forbids it',
        );
      if (count === EMSGSIZE) return this.malformed('more descriptors than a message can carry');
      return ENDED;
    }
    const first = this.have === 0;
    for (let index = 1; index <= this.received[0]; index++)
      this.descriptors.push(this.received[index]);
    if (!first && this.received[0] > 0)
      return this.malformed('descriptors came in the middle of a message');
    this.have += count;
    this.partial = true;
    return MESSAGE;
  }

  private malformed(fault: string): number {
    this.fault = fault;
    return MALFORMED;
  }
}

/** Bytes of a reply: version 1 and REPLY, NEED_REPLY clear, the request's number. */
export function replyBytes(request: number, payload: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(HEADER_BYTES + payload.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, request, true);
  view.setUint32(4, VERSION | REPLY, true);
  view.setUint32(8, payload.length, true);
  bytes.set(payload, HEADER_BYTES);
  return bytes;
}
