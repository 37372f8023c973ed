/**
 * One packed virtqueue (virtio 1.3 §2.8), seen from the device. One ring of descriptors that the driver makes available and the
 * device gives back in place; two wrap bits in each descriptor's flags say whose it is. The same promises as the split ring's:
 * everything is read once, every loop ends, and what has been given back is shown all at once (the first descriptor's flags
 * are written last, and the driver looks at them in order).
 *
 *     descriptor: | u64 address | u32 length | u16 id | u16 flags |      flags: AVAIL bit 7, USED bit 15
 *     event areas (the driver's is ours to read, the device's ours to write): | u16 offset and wrap | u16 flags |
 */
import type { Native } from '../native.ts';
import type { GuestMemory } from './guest-memory.ts';
import { type RingAddress, Virtqueue } from './virtqueue.ts';

const F_WRITE = 2;
/** Flags of a descriptor: made available and given back, as the wrap bits of driver and device were then (§2.8.1). */
export const DESC_F_AVAIL = 1 << 7;
export const DESC_F_USED = 1 << 15;

/** Flags of an event area (§2.8.10): of all, of none, or of one descriptor notifications are wanted. */
const EVENT_ENABLE = 0;
const EVENT_DISABLE = 1;
const EVENT_DESCRIPTOR = 2;

export class PackedQueue extends Virtqueue {
  readonly format = 'packed' as const;
  /** Position of the next descriptor we look at, and the wrap bit that makes it available. */
  nextAvail = 0;
  availWrap = 1;
  /** Position where we give back next. */
  nextUsed = 0;
  usedWrap = 1;
  /** What is given back and not shown yet: where it begins, and the word that shows it. */
  hiddenAt = -1;
  hiddenWord = 0;
  /** Descriptors shown since the driver was asked whether it wants to be interrupted. May be more than the ring has: two turns'. */
  private unasked = 0;
  descriptors = new Int32Array(0);
  private driverEvent = new Int32Array(0);
  private deviceEvent = new Int32Array(0);
  /** The word of our event area by which the driver was asked to notify us. */
  private armedWord = 0;
  /** Guest-physical addresses of what we write, for the dirty log. */
  private ringAddress = 0;
  private eventAddress = 0;

  /** Maps the parts of a ring of `size` descriptors; '' or what is wrong. `base`: as SET_VRING_BASE has it. */
  map(
    native: Native,
    memory: GuestMemory,
    size: number,
    address: RingAddress,
    base: number,
  ): string {
    this.unmap();
    if (size === 0) return 'its size was never set';
    if (address.descriptors % 16 !== 0) return 'its descriptor ring is not aligned to 16';
    if (address.avail % 4 !== 0 || address.used % 4 !== 0)
      return 'its event areas are not aligned to 4';
    const ring = memory.fromUser(address.descriptors, size * 16);
    const driver = memory.fromUser(address.avail, 4);
    const device = memory.fromUser(address.used, 4);
    if (!ring) return 'its descriptor ring is not in shared memory';
    if (!driver) return 'its driver event area is not in shared memory';
    if (!device) return 'its device event area is not in shared memory';
    const next = base & 0x7fff;
    if (next >= size) return `its base ${next} is not inside the ring`;
    this.descriptors = new Int32Array(
      native.viewRegion(ring.region.handle, ring.offset, size * 16),
    );
    this.driverEvent = new Int32Array(native.viewRegion(driver.region.handle, driver.offset, 4));
    this.deviceEvent = new Int32Array(native.viewRegion(device.region.handle, device.offset, 4));
    this.size = size;
    this.nextAvail = next;
    this.availWrap = (base >>> 15) & 1;
    // Nothing is ever in flight when a ring starts: used is where avail is.
    this.nextUsed = next;
    this.usedWrap = this.availWrap;
    this.unasked = 0;
    this.hiddenAt = -1;
    this.headRoom.forget();
    this.ringAddress = ring.region.guest + ring.offset;
    this.eventAddress = device.region.guest + device.offset;
    this.usedLogged = address.logged;
    this.broken = '';
    this.mapped = true;
    this.everMapped = true;
    this.beginQuiet();
    return '';
  }

  /** What GET_VRING_BASE answers: bits 0-14 avail, 15 its wrap, 16-30 used, 31 its wrap. */
  get base(): number {
    return (
      (this.nextAvail | (this.availWrap << 15) | (this.nextUsed << 16) | (this.usedWrap << 31)) >>>
      0
    );
  }

  unmap(): void {
    this.mapped = false;
    this.armed = false;
    this.descriptors = new Int32Array(0);
    this.driverEvent = new Int32Array(0);
    this.deviceEvent = new Int32Array(0);
  }

  /** After mapping anew: everything went on from `base` already. */
  resume(_nextUsed: number): void {}

  /** Whether what we write is logged. Where it lies is known from the mapping: the address given is a split ring's. */
  setLogged(logged: boolean, _address: number): void {
    this.usedLogged = logged;
  }

  /** True when a descriptor is available to who is in the lap of wrap bit `wrap` (§2.8.1). `word`: its last one, id and flags, read once. */
  static isAvailable(word: number, wrap: number): boolean {
    const flags = word >>> 16;
    return (
      ((flags & DESC_F_AVAIL) !== 0) === (wrap === 1) &&
      ((flags & DESC_F_USED) !== 0) !== (wrap === 1)
    );
  }

  /** True when the driver seems to have made something available: one plain load, for polling. */
  mayHaveWork(): boolean {
    return PackedQueue.isAvailable(this.descriptors[this.nextAvail * 4 + 3], this.availWrap);
  }

  /** Everything that was taken has been given back, as it is between datagrams. */
  get inStep(): boolean {
    return this.nextUsed === this.nextAvail && this.usedWrap === this.availWrap;
  }

  /** Moves on, with what is taken and with what is given back, to a position up to the end of the ring. */
  stepTo(position: number): void {
    this.nextAvail = position;
    if (position === this.size) {
      this.nextAvail = 0;
      this.availWrap ^= 1;
    }
    this.nextUsed = this.nextAvail;
    this.usedWrap = this.availWrap;
  }

  /** Moves on past a chain of `count` descriptors. */
  advance(count: number): void {
    this.nextAvail += count;
    if (this.nextAvail >= this.size) {
      this.nextAvail -= this.size;
      this.availWrap ^= 1;
    }
  }

  /** Gives back the buffer `id`, whose chain had `count` descriptors, with `length` bytes written; not yet shown. */
  giveBack(id: number, count: number, length: number): void {
    const word = this.nextUsed * 4;
    const flags =
      (this.usedWrap === 1 ? DESC_F_AVAIL | DESC_F_USED : 0) | (length > 0 ? F_WRITE : 0);
    this.descriptors[word + 2] = length;
    const last = id | (flags << 16);
    if (this.hiddenAt < 0) {
      this.hiddenAt = this.nextUsed;
      this.hiddenWord = last;
    } else {
      this.descriptors[word + 3] = last;
    }
    if (this.usedLogged && this.log !== null)
      this.log.mark(this.ringAddress + this.nextUsed * 16, 16);
    this.nextUsed += count;
    if (this.nextUsed >= this.size) {
      this.nextUsed -= this.size;
      this.usedWrap ^= 1;
    }
  }

  /** Shows what was given back; false when nothing was. A plain store, as in `SplitQueue.show`. */
  show(): boolean {
    this.spent = 0;
    if (this.hiddenAt < 0) return false;
    this.descriptors[this.hiddenAt * 4 + 3] = this.hiddenWord;
    if (this.usedLogged && this.log !== null)
      this.log.mark(this.ringAddress + this.hiddenAt * 16, 16);
    const moved = this.nextUsed - this.hiddenAt;
    this.unasked += moved > 0 ? moved : moved + this.size;
    this.hiddenAt = -1;
    // The next lap's buffers at the same place are others.
    this.headRoom.forget();
    return true;
  }

  /** Whether the driver wants to be interrupted for what was shown since it was asked last (§2.8.10); see `SplitQueue.wantsSignal`. */
  wantsSignal(): boolean {
    const shown = this.unasked;
    if (shown === 0) return false;
    this.unasked = 0;
    const now = this.nextUsed;
    const event = this.driverEvent[0];
    const flags = (event >>> 16) & 3;
    if (flags === EVENT_DISABLE) return false;
    if (flags !== EVENT_DESCRIPTOR || !this.eventIndex) return true;
    // The place when it was last gone over: in this lap, or in the one before; one of this lap that is still to come, two laps ago.
    let place = event & 0x7fff;
    if (((event >>> 15) & 1) !== this.usedWrap) place -= this.size;
    else if (place >= now) place -= 2 * this.size;
    return place >= now - shown;
  }

  /** Asks to be notified of what the driver makes available from `position` on; true when something is there already. */
  arm(position: number): boolean {
    const wrap = position >= this.nextAvail ? this.availWrap : this.availWrap ^ 1;
    const word = this.eventIndex
      ? position | (wrap << 15) | (EVENT_DESCRIPTOR << 16)
      : EVENT_ENABLE << 16;
    // An input ring may be armed a second time without having been disarmed: then at another place.
    if (!this.armed || this.armedWord !== word) {
      this.armed = true;
      this.armedWord = word;
      Atomics.store(this.deviceEvent, 0, word);
      if (this.usedLogged && this.log !== null) this.log.mark(this.eventAddress, 4);
    }
    return PackedQueue.isAvailable(Atomics.load(this.descriptors, position * 4 + 3), wrap);
  }

  disarm(): void {
    if (!this.armed) return;
    this.armed = false;
    if (!this.mapped) return;
    this.deviceEvent[0] = EVENT_DISABLE << 16;
    if (this.usedLogged && this.log !== null) this.log.mark(this.eventAddress, 4);
  }

  /** Takes back what was reserved since `position`, for a datagram that found too few buffers. */
  rewind(position: number, wrap: number): void {
    this.nextAvail = position;
    this.availWrap = wrap;
  }
}
