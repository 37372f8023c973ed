/**
 * What wakes a sleeping base when a frame arrives. The receive ring's socket tells of blocks only, which the kernel hands over late; a
 * second socket has a ring of one frame and tells of each frame that finds it free. While turns run nobody takes that frame back, so the
 * kernel looks at it and leaves: no wake-up, no copy, no system call (Linux before 5.3 wakes all the same).
 */
import type { Native } from '../native.ts';
import { EPOLLIN, type Watcher } from '../watcher.ts';
import { TP_STATUS_KERNEL } from './packet-layout.ts';

/** Of struct tpacket2_hdr, in words. */
const STATUS = 0;

export class Doorbell {
  private readonly native: Native;
  private readonly watcher: Pick<Watcher, 'watch' | 'unwatch'>;
  readonly fd: number;
  private readonly region: number;
  private readonly words: Int32Array;

  /** `fd`: of `Native.packetDoorbell`, and its owner's. Throws when it can't be mapped or watched. */
  constructor(
    native: Native,
    watcher: Pick<Watcher, 'watch' | 'unwatch'>,
    fd: number,
    mapBytes: number,
  ) {
    this.native = native;
    this.watcher = watcher;
    this.fd = fd;
    this.region = native.mapPacketRings(fd, mapBytes);
    try {
      this.words = new Int32Array(native.viewRegion(this.region, 0, mapBytes));
      // Each new event once: the frame stays written until the next sleep.
      watcher.watch(fd, EPOLLIN, true, () => {});
    } catch (error) {
      native.unmapRegion(this.region);
      throw error;
    }
  }

  /** Before a sleep: the next frame wakes. Whoever calls this looks at the receive ring afterwards, for what came before. */
  arm(): void {
    // With a fence: the look must not overtake it.
    if (this.words[STATUS] !== TP_STATUS_KERNEL)
      Atomics.store(this.words, STATUS, TP_STATUS_KERNEL);
  }

  /** Unmaps it and looks away; call before closing the descriptor. */
  close(): void {
    this.native.unmapRegion(this.region);
    this.watcher.unwatch(this.fd);
  }
}
