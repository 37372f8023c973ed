/**
 * One split virtqueue (virtio 1.3 §2.7), seen from the device. The three parts lie in guest memory and the driver may write
 * to them at any time, so: a batch takes what one reading of the avail index says, bounded by the queue size, an entry is read once into a local,
 * and nothing we need is ever read back from the ring (`nextAvail` and `nextUsed` are ours).
 *
 * Writing used elements and showing them (`show`) are different steps: a whole batch appears at once.
 * Every chain is given back in the order it was made available, as IN_ORDER asks (§2.7.10).
 *
 *     avail: | flags | idx | ring[size] | used_event |       u16 each
 *     used:  | flags | idx | {id, len}[size] u32 each | avail_event u16 |
 */
import type { Native } from '../native.ts';
import type { GuestMemory } from './guest-memory.ts';
import { BROKEN, type RingAddress, Virtqueue } from './virtqueue.ts';

/** In halves, of both rings: where the index is, and where the entries begin. */
const IDX = 1;
export const RING = 2;
const AVAIL_F_NO_INTERRUPT = 1;
const USED_F_NO_NOTIFY = 1;

/** True when an index that moved from `old` to `now` passed `event` (§2.7.7.1 and Linux's vring_need_event). */
export function needEvent(event: number, now: number, old: number): boolean {
  return ((now - event - 1) & 0xffff) < ((now - old) & 0xffff);
}

export class SplitQueue extends Virtqueue {
  readonly format = 'split' as const;
  mask = 0;
  /** Next avail entry we read. */
  nextAvail = 0;
  /** Next used element we write. */
  nextUsed = 0;
  /** The used index the driver has been shown. */
  shownUsed = 0;
  /** Used index up to which the driver was asked whether it wants to be interrupted. */
  private askedUsed = 0;
  /** Descriptor table: four words per descriptor. */
  descriptors = new Int32Array(0);
  avail = new Uint16Array(0);
  used = new Uint16Array(0);
  /** Used elements: two words each. */
  elements = new Int32Array(0);
  /** Chains known to be available and not taken yet (input rings; 0: look again). */
  ready = 0;
  /** The avail index at which the driver was asked to notify us. */
  private armedAt = -1;
  private usedAddress = 0;

  /**
   * Maps the parts of a ring of `size` entries. Returns '' or what is wrong. The used index is taken over from the
   * driver's memory, and a queue that starts begins there; one that is mapped anew goes on at `nextAvail`.
   */
  map(
    native: Native,
    memory: GuestMemory,
    size: number,
    address: RingAddress,
    nextAvail: number,
  ): string {
    this.unmap();
    if (size === 0) return 'its size was never set';
    if ((size & (size - 1)) !== 0) return 'its size is no power of two';
    if (address.descriptors % 16 !== 0) return 'its descriptor table is not aligned to 16';
    if (address.avail % 2 !== 0) return 'its avail ring is not aligned to 2';
    if (address.used % 4 !== 0) return 'its used ring is not aligned to 4';
    const table = memory.fromUser(address.descriptors, size * 16);
    const avail = memory.fromUser(address.avail, 6 + size * 2);
    const used = memory.fromUser(address.used, 6 + size * 8);
    if (!table) return 'its descriptor table is not in shared memory';
    if (!avail) return 'its avail ring is not in shared memory';
    if (!used) return 'its used ring is not in shared memory';
    this.descriptors = new Int32Array(
      native.viewRegion(table.region.handle, table.offset, size * 16),
    );
    this.avail = new Uint16Array(
      native.viewRegion(avail.region.handle, avail.offset, 6 + size * 2),
    );
    const usedBuffer = native.viewRegion(used.region.handle, used.offset, 6 + size * 8);
    this.used = new Uint16Array(usedBuffer);
    this.elements = new Int32Array(usedBuffer, 4, size * 2);
    this.size = size;
    this.mask = size - 1;
    this.nextUsed = Atomics.load(this.used, IDX);
    this.nextAvail = nextAvail & 0xffff;
    // Nothing is ever in flight when a ring starts, so it goes on behind what was given back last: what lies between would be lost (cloud-hypervisor
    // connects anew with the avail index), or taken twice (DPDK's virtio-user as server: with 0).
    const lost = (this.nextAvail - this.nextUsed) & 0xffff;
    const offered = (Atomics.load(this.avail, IDX) - this.nextUsed) & 0xffff;
    const behind = this.nextAvail === 0 && offered <= size;
    if (!this.everMapped && (lost <= size || behind)) this.nextAvail = this.nextUsed;
    this.shownUsed = this.nextUsed;
    this.askedUsed = this.nextUsed;
    this.usedLogged = address.logged;
    this.usedAddress = address.log;
    this.ready = 0;
    this.headRoom.forget();
    this.broken = '';
    this.mapped = true;
    this.everMapped = true;
    this.beginQuiet();
    return '';
  }

  /** After mapping anew: goes on with our used index, not with what the driver's memory says. */
  resume(nextUsed: number): void {
    this.nextUsed = nextUsed;
    this.shownUsed = nextUsed;
    this.askedUsed = nextUsed;
  }

  /** Whether writes to the used ring are logged, and where it is in guest memory. */
  setLogged(logged: boolean, address: number): void {
    this.usedLogged = logged;
    this.usedAddress = address;
  }

  /** What GET_VRING_BASE answers. */
  get base(): number {
    return this.nextAvail;
  }

  unmap(): void {
    this.mapped = false;
    this.armed = false;
    this.descriptors = new Int32Array(0);
    this.avail = new Uint16Array(0);
    this.used = new Uint16Array(0);
    this.elements = new Int32Array(0);
  }

  /** True when the driver seems to have made something available: one plain load, for polling. */
  mayHaveWork(): boolean {
    return this.avail[IDX] !== this.nextAvail;
  }

  /**
   * How many chains are available; BROKEN when more than the queue can hold (it would be spun through for ever). A plain load: x86-64, the only
   * machine we run on, shows what the driver stored before its index to whoever has seen the index, V8 keeps the order of loads, and
   * to V8 an atomic one is a call. That it is made anew each time is a test (test/platform).
   */
  available(): number {
    const count = (this.avail[IDX] - this.nextAvail) & 0xffff;
    return count <= this.size ? count : BROKEN;
  }

  /** Writes one used element, not yet shown. */
  giveBack(head: number, length: number): void {
    const element = (this.nextUsed & this.mask) * 2;
    this.elements[element] = head;
    this.elements[element + 1] = length;
    this.nextUsed = (this.nextUsed + 1) & 0xffff;
  }

  /** Sets the length of the elements written since `used`, not yet shown, to 0: nothing was put into those buffers. */
  emptySince(used: number): void {
    for (let index = used; index !== this.nextUsed; index = (index + 1) & 0xffff) {
      this.elements[(index & this.mask) * 2 + 1] = 0;
    }
  }

  /**
   * Shows the driver all used elements written so far; false when there is nothing new. A plain store: x86-64, the only machine we run
   * on, shows it after the elements, and nobody waits until it is seen, as with an atomic one.
   */
  show(): boolean {
    this.spent = 0;
    const now = this.nextUsed;
    if (now === this.shownUsed) return false;
    this.used[IDX] = now;
    // Behind the store: a page that was marked before, read by the migration and then written would be lost.
    if (this.usedLogged && this.log !== null) this.logUsed(this.shownUsed, now);
    this.shownUsed = now;
    // 65536 buffers later others are at the same place.
    this.headRoom.forget();
    return true;
  }

  /**
   * Whether the driver wants to be interrupted for what was shown since it was asked last (§2.7.7.1, §2.7.10). Between `show` and this there
   * must be a fence, or the driver's wish is read before it can have seen what was shown.
   */
  wantsSignal(): boolean {
    const old = this.askedUsed;
    const now = this.shownUsed;
    if (now === old) return false;
    this.askedUsed = now;
    if (this.eventIndex) return needEvent(this.avail[RING + this.size], now, old);
    return (this.avail[0] & AVAIL_F_NO_INTERRUPT) === 0;
  }

  /**
   * Asks the driver to notify us when its avail index moves on from `position`. Returns true when it has moved already, so
   * that the caller must not sleep (§2.7.10.1: the driver may have added something before it saw our wish).
   */
  arm(position: number): boolean {
    // An input ring may be armed a second time without having been disarmed: then at another index.
    if (!this.armed || this.armedAt !== position) {
      this.armed = true;
      this.armedAt = position;
      if (this.eventIndex) {
        const event = RING + this.size * 4;
        Atomics.store(this.used, event, position);
        if (this.usedLogged && this.log !== null) this.log.mark(this.usedAddress + event * 2, 2);
      } else {
        Atomics.store(this.used, 0, 0);
        if (this.usedLogged && this.log !== null) this.log.mark(this.usedAddress, 2);
      }
    }
    return Atomics.load(this.avail, IDX) !== position;
  }

  /** With EVENT_IDX, leaving the event behind is enough. */
  disarm(): void {
    if (!this.armed) return;
    this.armed = false;
    if (!this.eventIndex && this.mapped) {
      this.used[0] = USED_F_NO_NOTIFY;
      if (this.usedLogged && this.log !== null) this.log.mark(this.usedAddress, 2);
    }
  }

  private logUsed(old: number, now: number): void {
    const log = this.log!;
    const count = (now - old) & 0xffff;
    const first = old & this.mask;
    const head = Math.min(count, this.size - first);
    log.mark(this.usedAddress + 4 + first * 8, head * 8);
    if (count > head) log.mark(this.usedAddress + 4, (count - head) * 8);
    log.mark(this.usedAddress + 2, 2);
  }
}
