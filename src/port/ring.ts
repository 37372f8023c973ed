/**
 * One ring of an attachment: what the front-end said about it, kept as it said it until the ring starts, its virtqueue, its eventfds, and the
 * notes that a turn makes in it.
 *
 * Rings come in pairs (virtio 1.3 §5.1.2): even ones are the VM's input (receiveq), odd ones its output (transmitq).
 * A ring is *started* from SET_VRING_KICK to GET_VRING_BASE and *enabled* by SET_VRING_ENABLE; only a started and
 * enabled ring carries datagrams (vhost-user.rst, "Ring states").
 */
import type { PackedQueue } from '../virtio/packed-queue.ts';
import { SplitQueue } from '../virtio/split-queue.ts';
import type { RingAddress } from '../virtio/virtqueue.ts';

/**
 * Lower half of a packed ring's base when it was never used: its wrap bit (virtio 1.3 §2.8.1). DPDK leaves the upper half, the
 * used index, out.
 */
const FRESH_PACKED = 0x8000;

export class Ring {
  readonly index: number;
  /** The ring itself, in the format that was negotiated. */
  queue: SplitQueue | PackedQueue = new SplitQueue();
  /** As SET_VRING_NUM, SET_VRING_BASE and SET_VRING_ADDR said: entries, where it goes on, and where its parts are (null: not said yet). */
  size = 0;
  base = 0;
  address: RingAddress | null = null;
  /** From SET_VRING_KICK to GET_VRING_BASE: it may be processed. */
  started = false;
  /** Told to start, by SET_VRING_KICK, before all its parts were named: it does once they are. */
  startsWhenWhole = false;
  /** By SET_VRING_ENABLE, or from the start without PROTOCOL_FEATURES: started as well it carries datagrams, else it is emptied without effect. */
  enabled = false;
  /** SET_VRING_ENABLE said whether it is: features that are set after that change nothing. */
  enabledAsSaid = false;
  /** Has used elements that the driver has not been shown yet (a turn’s note; nothing to do with a migration’s dirty log). */
  unshown = false;
  /**
   * Input rings: where the ring ended when its buffers were too few for the oldest datagram that waits for it, and since when it ends there, in
   * milliseconds of the turn's clock; -1: none waits, or the ring has no buffers (a turn's note).
   */
  shortAt = -1;
  shortSince = 0;
  /** Eventfds of ours, for `Session.dropDescriptor` to close; -1: none. */
  kickFd = -1;
  callFd = -1;
  errFd = -1;

  constructor(index: number) {
    this.index = index;
  }

  /** As SET_VRING_ENABLE says. */
  enable(enabled: boolean): void {
    this.enabled = enabled;
    this.enabledAsSaid = true;
  }

  /** A reset: disabled until it is said anew, by SET_VRING_ENABLE or by features without PROTOCOL_FEATURES. */
  disable(): void {
    this.enabled = false;
    this.enabledAsSaid = false;
  }

  /** Forgets where it was: where a ring begins that nobody has used (a packed one with its wrap bits set, §2.8.1). */
  rewind(): void {
    this.base = this.queue.format === 'packed' ? FRESH_PACKED * 0x10001 : 0;
  }

  /** Its queue pair (virtio 1.3 §5.1.2), from 0. */
  get pair(): number {
    return this.index >> 1;
  }

  /** Even rings are the VM's input (receiveq), odd ones its output (transmitq). */
  get isInput(): boolean {
    return this.index % 2 === 0;
  }

  /** Broken by what its driver did: nothing but a reset heals it. A stranded one only waits for its memory. */
  get needsReset(): boolean {
    return this.queue.broken !== '' && !this.queue.stranded;
  }

  /** Started, and not from its beginning. */
  get wentOn(): boolean {
    if (this.queue.format === 'packed')
      return this.started && (this.base & 0xffff) !== FRESH_PACKED;
    return this.started && this.base !== 0;
  }

  /** Mapped, started and not broken: the ring may be touched. */
  get usable(): boolean {
    return this.started && this.queue.mapped && this.queue.broken === '';
  }
}
