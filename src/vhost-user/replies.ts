/**
 * Replies on their way to a peer that may be slow to read them. What the socket does not take at once waits here, bounded: who reads
 * nothing is disconnected, and nobody waits for it.
 */
import { EAGAIN } from '../errno.ts';
import type { Native } from '../native.ts';

/** Bytes of replies that the peer has not read: beyond it the connection is to be closed. */
const MAX_UNSENT = 64 * 1024;

/** What became of a reply. */
export const SENT = 0; // or it waits
export const FAILED = -1; // the socket takes nothing more
export const TOO_MANY = -2; // the peer does not read

export class Replies {
  private readonly native: Native;
  private readonly fd: number;
  private unsent: Uint8Array[] = [];
  private bytes = 0;

  /** `fd` stays its owner's. */
  constructor(native: Native, fd: number) {
    this.native = native;
    this.fd = fd;
  }

  /** Some wait until the socket has room: call `flush` then. */
  get wait(): boolean {
    return this.unsent.length > 0;
  }

  /** Sends a reply, or has it wait behind the others; SENT, FAILED or TOO_MANY. Keeps the array. */
  add(reply: Uint8Array): number {
    this.unsent.push(reply);
    this.bytes += reply.length;
    if (this.unsent.length === 1) return this.flush();
    return this.bytes > MAX_UNSENT ? TOO_MANY : SENT;
  }

  /** Sends what the socket takes; SENT or FAILED. */
  flush(): number {
    while (this.unsent.length > 0) {
      const reply = this.unsent[0];
      const sent = this.native.send(this.fd, reply, 0, reply.length, null, 0);
      if (sent === EAGAIN) return SENT;
      if (sent < 0) return FAILED;
      this.bytes -= sent;
      if (sent < reply.length) {
        this.unsent[0] = reply.subarray(sent);
        return SENT;
      }
      this.unsent.shift();
    }
    return SENT;
  }
}
