/**
 * What a virtqueue is in either format (virtio 1.3 §2.6), seen from the device: what was negotiated for it, whether it may be touched, and the
 * notes that a turn leaves in it. The rings themselves are in `split-queue.ts` and `packed-queue.ts`.
 */
import type { DirtyLog } from './dirty-log.ts';
import { HeadRoom } from './head-room.ts';

/** Outcome of whatever found an impossible index, head or chain: the ring stops, and `broken` says why. */
export const BROKEN = -1;

export const MAX_QUEUE_SIZE = 32768;

/** Where the parts are, in the front-end's user addresses (SET_VRING_ADDR); a packed ring's avail and used are its event areas. */
export interface RingAddress {
  descriptors: number;
  avail: number;
  used: number;
  /** Guest-physical address of the used ring for the dirty log, when `logged`. */
  log: number;
  logged: boolean;
}

export abstract class Virtqueue {
  size = 0;
  /** EVENT_IDX and INDIRECT_DESC were negotiated. */
  eventIndex = false;
  indirect = false;

  /** Why this ring stopped until it is set up again; '' while it works. */
  broken = '';
  /** Its parts are mapped and the ring may be touched. */
  mapped = false;
  /** Broken only because its parts are not in shared memory: heals when the memory comes. */
  stranded = false;
  /** Has been mapped since it started: its indices are ours and not the front-end's. */
  everMapped = false;
  /** Set while a live migration logs what the device writes. */
  log: DirtyLog | null = null;
  /** VHOST_VRING_F_LOG: what is written to the ring itself is logged, too. */
  usedLogged = false;
  /** The driver has been asked to notify us of what it adds. */
  armed = false;

  /** Frame bytes that the last run of plain buffers moved (`GatherPlain`, `PutPlain`). */
  movedBytes = 0;
  /** Output rings: descriptors that the last gather saw, and whether it took all that it was allowed to. */
  walked = 0;
  filled = false;
  /** Input rings: where the last datagram found too few buffers, as an avail index or a position. */
  fullAt = 0;
  /** Input rings: what is known of the buffers at `nextAvail`. */
  readonly headRoom = new HeadRoom();
  /** Input rings: descriptors that this turn's datagrams made us look at, but for those of one plain buffer. */
  spent = 0;

  /** Forgets the parts; where it stands stays, for GET_VRING_BASE. */
  abstract unmap(): void;

  /** Notifications are not needed: we look by ourselves. */
  abstract disarm(): void;

  /** Back to a ring that never started. */
  stop(): void {
    this.unmap();
    this.broken = '';
    this.stranded = false;
    this.everMapped = false;
  }

  /**
   * A ring that starts is looked at without being asked, and its driver must see that: flags are 0 (notify) to begin with, and an
   * input ring would stay so for ever, with a system call of a DPDK driver or a trap of a guest for each refill.
   */
  protected beginQuiet(): void {
    this.armed = true;
    this.disarm();
  }
}
