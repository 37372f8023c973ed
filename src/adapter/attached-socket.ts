/**
 * An adapter's packet socket while it is open: the descriptor, the mapping of its two rings, the rings, and the doorbell. It owns them and
 * gives them back in `close`.
 */
import { EPOLLIN, EPOLLOUT } from '../watcher.ts';
import type { AdapterContext } from './context.ts';
import { Doorbell } from './doorbell.ts';
import { closeSockets, type OpenedSockets } from './packet-sockets.ts';
import { ReceiveRing } from './receive-ring.ts';
import { TransmitRing } from './transmit-ring.ts';
import { UdpTrain } from './udp-train.ts';

/** Times that frames came or left since the last wait, from which on nobody is to be woken for each block and each frame that has left. */
const MANY_MOVES = 16;

export class AttachedSocket {
  readonly receive: ReceiveRing;
  readonly transmit: TransmitRing;
  readonly interfaceIndex: number;
  private readonly context: AdapterContext;
  private readonly fd: number;
  private readonly region: number;
  private readonly doorbell: Doorbell;
  private readonly onError: () => void;
  /** Whether the wait ends for what comes; and when the socket has room to send. */
  private watched = true;
  private watchesRoom = false;
  private moves = 0;
  private refusedBefore = 0;
  private readonly coupleUdp: boolean | 'auto';
  /** Datagrams of one UDP flow that leave in a row are coupled. */
  couplesUdp = false;

  /** Maps the rings; throws when that is not possible, and then the descriptors are still the caller's. `onError`: see `ready`. */
  constructor(context: AdapterContext, opened: OpenedSockets, onError: () => void) {
    const { native, storage, copies, counters, port } = context;
    const { fd, receive, transmit, headerBytes, mapBytes } = opened;
    this.context = context;
    this.onError = onError;
    this.fd = fd;
    this.interfaceIndex = opened.interfaceIndex;
    this.region = native.mapPacketRings(fd, mapBytes);
    this.coupleUdp = opened.coupleUdp;
    const { watcher } = context;
    try {
      const ring = native.viewRegion(this.region, 0, mapBytes);
      this.receive = new ReceiveRing(ring, this.region, receive, port, storage, copies, counters);
      this.transmit = new TransmitRing(
        native,
        fd,
        ring,
        this.region,
        receive.blockBytes * receive.blocks,
        transmit,
        headerBytes,
        storage,
        copies,
        context.senders,
      );
      this.couple(opened.takesLongUdp);
      watcher.watch(fd, EPOLLIN, false, (events) => this.ready(events));
      const { doorbell } = opened;
      this.doorbell = new Doorbell(native, watcher, doorbell.fd, doorbell.mapBytes);
    } catch (error) {
      watcher.unwatch(fd);
      native.unmapRegion(this.region);
      throw error;
    }
  }

  /** Between two turns: the interface takes long UDP frames as they are, or no longer. True when `couplesUdp` changed. */
  couple(takesLongUdp: boolean): boolean {
    const couples = this.coupleUdp === 'auto' ? !takesLongUdp : this.coupleUdp;
    if (this.transmit.trainRefused || couples === this.couplesUdp) return false;
    this.couplesUdp = couples;
    this.transmit.useTrain(
      couples ? new UdpTrain(this.context.native, this.context.storage) : null,
    );
    return true;
  }

  /** Takes frames into base storage; how many it looked at. See ReceiveRing. */
  gather(datagrams: number, bytes: number): number {
    const seen = this.receive.gather(datagrams, bytes);
    if (seen > 0) this.moved();
    return seen;
  }

  /** Has the kernel send what was put. 0, or -errno: see TransmitRing. What has no room now is sent when the wait ends for it. */
  publish(): number {
    if (this.transmit.isEmpty && !this.watchesRoom) return 0;
    const result = this.transmit.publish();
    if (this.transmit.needsKick !== this.watchesRoom) this.watchRoom();
    else this.moved();
    return result;
  }

  /**
   * Before each wait but a rest: has what comes end it. False when something has come already. While turns run without a pause the socket is
   * not watched: the kernel would take a lock and walk the list of those who wait for each block that comes and each frame that has left, a
   * tenth of what sending one takes.
   */
  fallAsleep(): boolean {
    this.moves = 0;
    if (!this.watched) this.watchAgain();
    // Where nothing can be read ahead a bell would wake us in vain: the block itself does, when it comes.
    if (this.receive.readsAhead) this.doorbell.arm();
    return !this.receive.hasWork();
  }

  /** Takes back what the kernel has not taken: the interface is down. */
  rewind(): void {
    this.transmit.rewind();
    if (this.watchesRoom) this.watchRoom();
  }

  /** Adds up what only the kernel knows, since the last call. */
  readStatistics(): void {
    const { counters, native, port, log } = this.context;
    const [, drops] = native.packetStatistics(this.fd);
    if (drops > 0) counters.add(port, 'receiveOverruns', drops);
    const { refused, trainRefused } = this.transmit;
    if (trainRefused && this.couplesUdp) {
      this.couplesUdp = false;
      log('warn', 'the kernel does not cut UDP datagrams (Linux has since 6.2): coupleUdp is off');
    }
    if (refused > this.refusedBefore) {
      counters.add(port, 'transmitRefused', refused - this.refusedBefore);
      this.refusedBefore = refused;
    }
  }

  /** Unmaps the rings and closes both sockets; nothing here may be used afterwards. */
  close(): void {
    this.transmit.rewind();
    this.readStatistics();
    this.context.native.unmapRegion(this.region);
    this.context.watcher.unwatch(this.fd);
    this.doorbell.close();
    const sockets = { rings: this.fd, doorbell: this.doorbell.fd };
    closeSockets(this.context.native, sockets, this.interfaceIndex, this.context.plan.mac);
  }

  private get watchedFor(): number {
    return this.watchesRoom ? EPOLLIN | EPOLLOUT : EPOLLIN;
  }

  /** Frames came or left. */
  private moved(): void {
    if (!this.watched || this.watchesRoom || ++this.moves < MANY_MOVES) return;
    this.watched = false;
    this.context.watcher.pause(this.fd);
  }

  private watchAgain(): void {
    try {
      this.context.watcher.resume(this.fd, this.watchedFor);
      this.watched = true;
    } catch {
      // No memory, or all watches that a user may have are taken: looked at every millisecond until there is one.
      this.context.due(this.context.now() + 1);
    }
  }

  /** The turn gathers and publishes. An error (the interface went down) must be taken, or it is reported for ever. */
  private ready(events: number): void {
    if ((events & ~(EPOLLIN | EPOLLOUT)) === 0) return;
    this.context.native.socketError(this.fd);
    this.onError();
  }

  /** Has the worker's wait end when the kernel has room for the frames that wait in the ring; or no longer. */
  private watchRoom(): void {
    this.watchesRoom = this.transmit.needsKick;
    if (this.watched) this.context.watcher.change(this.fd, this.watchedFor);
    else this.watchAgain();
  }
}
