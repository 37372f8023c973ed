/**
 * An adapter: the way out of the base to a LAN, an AF_PACKET socket with both its rings mapped and a second one that wakes, owned by
 * a turn worker (of several: the first).
 *
 *     closed --open()--> (main thread opens the socket) --attach--> open <--> down      (carrier, ip link set up/down)
 *       ^                                                             |        |
 *       +--close()-- gone <------ interface deleted or renamed -------+--------+
 *                     +--- made again under its name, or it was open before a restart: asks the main thread to open again
 *
 * Until it is open every datagram that would leave is dropped with the state's reason. The calls of a turn are
 * `gather`/`release` on the way in, `resolve` then `put`/`publish` on the way out; none allocates when a neighbour is known.
 */
import type { AdapterPlan } from '../plan.ts';
import { type AdapterState, CELL } from '../counters.ts';
import { ENETDOWN } from '../errno.ts';
import type { InterfaceInfo } from '../native.ts';
import { longestDatagram } from '../routing/offload.ts';
import { dropCell } from '../routing/verdict.ts';
import type { WayOut } from '../routing/way-out.ts';
import { broadcastOf, parsePrefix } from '../wire/ipv4-address.ts';
import { isGroup, macText, parseMac } from '../wire/mac.ts';
import { AttachedSocket } from './attached-socket.ts';
import type { AdapterContext, Milliseconds } from './context.ts';
import { LanArp } from './lan-arp.ts';
import { Neighbours } from './neighbours.ts';
import { closeSockets, type OpenedSockets } from './packet-sockets.ts';
import { isUp, type LinkMessage } from './rtnetlink.ts';

const STATISTICS_INTERVAL: Milliseconds = 1000;
/** The interface is there again but could not be opened (descriptors, memory): how long until the second try, and between any two; it doubles. */
const REOPEN_INTERVAL: Milliseconds = 1000;
const LONGEST_REOPEN_INTERVAL: Milliseconds = 32_000;
/** The interface could not be looked at (no descriptor was left): how long until the next try. */
const LOOK_INTERVAL: Milliseconds = 1000;

/** Codes of errors that say that there is no interface of a name. */
const NO_INTERFACE: ReadonlySet<string | undefined> = new Set(['ENODEV', 'ENXIO']);

const SENT_BYTES = CELL.sentBytes;
const SENT_DATAGRAMS = CELL.sentDatagrams;
const TOO_BIG = CELL.tooBig;

/** How an adapter stands. */
export interface AdapterCondition {
  state: AdapterState;
  mac: string | null;
  mtu: number | null;
  neighbours: number;
  /** Why it is not open. */
  reason: string;
}

export class Adapter implements WayOut {
  readonly plan: AdapterPlan;
  /** Port number, and the first cell of its counter record. */
  readonly port: number;
  readonly firstCell: number;
  /** The MAC it speaks with: six bytes; the same memory is used as three halves. */
  readonly mac: Uint8Array = new Uint8Array(6);
  readonly neighbours: Neighbours;
  readonly arp: LanArp;
  /** The interface's; 0 until first opened. */
  mtu = 0;
  /** Why it is not open, '' when it is. */
  reason = 'no management guest has opened it';
  state: AdapterState = 'closed';
  /** Drop cell for what would leave now; 0 when open. */
  refusal: number = CELL.adapterClosed;

  private readonly context: AdapterContext;
  private readonly fixedMac: boolean;
  private socket: AttachedSocket | null = null;
  /** Neighbours known before a restart. */
  private readonly remembered: [key: number, mac: Uint8Array][] = [];
  /** A management guest wants it open. */
  private wanted = false;
  /** The main thread was asked and has not answered. */
  private opening = false;
  private reopens = 0;
  /** Why it could not be opened, as the log has it; '' since it was. */
  private complained = '';
  private reopenAt: Milliseconds = Number.POSITIVE_INFINITY;
  private lookAt: Milliseconds = Number.POSITIVE_INFINITY;
  private statisticsAt: Milliseconds = 0;

  constructor(context: AdapterContext) {
    this.context = context;
    const { plan, network } = context;
    this.plan = plan;
    this.port = context.port;
    this.firstCell = context.counters.firstCell(context.port);
    this.fixedMac = plan.mac !== null;
    if (plan.mac !== null) this.mac.set(parseMac(plan.mac));
    const subnet = parsePrefix(`${network.subnet}/${network.prefix}`);
    this.neighbours = new Neighbours(
      context,
      new Uint16Array(this.mac.buffer),
      broadcastOf(subnet),
      (key, macs, at) => this.arp.request(key, macs, at),
    );
    this.arp = new LanArp(context, this.neighbours, this.mac);
  }

  // --- the turn ---------------------------------------------------------------------------------

  /** True when frames wait in the receive ring. Cheap enough to poll. */
  hasWork(): boolean {
    return this.socket?.receive.hasWork() ?? false;
  }

  /** Takes frames into base storage; how many it looked at. See ReceiveRing. */
  gather(datagrams: number, bytes: number): number {
    return this.socket === null ? 0 : this.socket.gather(datagrams, bytes);
  }

  /** Hands blocks back, once the copies of `gather` were carried out. */
  release(): void {
    if (this.socket !== null) this.socket.receive.release();
  }

  /** Verdict for an ARP frame that came in here. */
  receiveArp(slot: number): number {
    return this.arp.receive(slot, this.context.time[0]);
  }

  /**
   * Fills in the MAC addresses for a datagram that leaves to `nextHop` (its key). The verdict: our port, HELD when it waits for the
   * neighbour (then a copy was taken and `waiting` counted), or a drop.
   */
  resolve(slot: number, nextHop: number): number {
    if (this.refusal !== 0) return dropCell(this.refusal);
    const outcome = this.neighbours.resolve(slot, nextHop);
    if (outcome === 0) return this.port;
    return outcome < 0 ? outcome : dropCell(outcome);
  }

  /** Reserves a transmit frame and adds the copy; 0, or the drop cell. */
  put(slot: number): number {
    if (this.refusal !== 0) return this.refusal;
    const storage = this.context.storage;
    if (longestDatagram(storage, slot) > this.mtu) return TOO_BIG;
    const refused = this.socket!.transmit.put(slot);
    if (refused !== 0) return refused;
    const cells = this.context.counters.cells;
    cells[this.firstCell + SENT_DATAGRAMS]++;
    cells[this.firstCell + SENT_BYTES] += storage.length[slot];
    return 0;
  }

  /** After the copies: has the kernel send what was put. */
  publish(): void {
    if (this.socket === null) return;
    const result = this.socket.publish();
    if (result === 0) return;
    // ENETDOWN may be an error of the past that nobody read; what is marked then stays in the ring for the next turn.
    if (result === ENETDOWN) this.refreshLink();
    else this.lost(`interface ${this.plan.interface} is gone`);
  }

  /** Before each wait but a rest: has it end for what comes. False when something has come already. */
  fallAsleep(): boolean {
    return this.socket?.fallAsleep() ?? true;
  }

  /** Frames wait in the transmit ring until the socket has room for them: `publish` again when it wakes us. */
  get needsKick(): boolean {
    return this.socket?.transmit.needsKick ?? false;
  }

  // --- the management guest's wishes ----------------------------------------------------------------

  /** Opens it: asks the main thread, unless it is open or being opened. */
  open(): void {
    this.wanted = true;
    this.reopens = 0;
    if (this.socket === null) this.askToOpen();
  }

  /** It was open before the base, or its turn worker, was started anew: opens it, and goes on trying where that fails now, as for an interface that is gone. */
  reopen(): void {
    this.state = 'gone';
    this.refusal = CELL.adapterGone;
    this.reason = 'it was open before the base was started anew, and is being opened again';
    this.open();
  }

  /** Closes it: its socket and memory are released at once. */
  close(reason: string): void {
    this.wanted = false;
    this.detach('closed', CELL.adapterClosed, reason);
  }

  /**
   * The main thread opened the packet sockets. The descriptors are ours from here on. False when it is not open after that: it is
   * not wanted any more, or `reason` says why.
   */
  attach(opened: OpenedSockets): boolean {
    this.opening = false;
    if (!this.wanted || this.socket !== null) {
      this.drop(opened);
      return this.socket !== null;
    }
    try {
      this.socket = new AttachedSocket(this.context, opened, () => this.refreshLink());
    } catch (error) {
      this.drop(opened);
      this.refused(`its rings can't be mapped: ${(error as Error).message}`);
      return false;
    }
    if (!this.fixedMac) this.mac.set(parseMac(opened.mac));
    this.mtu = opened.mtu;
    this.reopenAt = Number.POSITIVE_INFINITY;
    this.statisticsAt = 0;
    this.complained = '';
    this.context.log('info', `adapter opened on ${this.plan.interface}`, {
      mac: macText(this.mac),
      mtu: this.mtu,
      up: opened.up,
      coupleUdp: this.socket.couplesUdp,
    });
    if (opened.up) this.goUp();
    else this.goDown();
    // What happened between the opening and now was told to nobody.
    this.refreshLink();
    return this.socket !== null;
  }

  /** The main thread could not open it, for `reason`. */
  refused(reason: string): void {
    this.opening = false;
    if (this.state === 'gone' && this.wanted) {
      const interval = Math.min(REOPEN_INTERVAL * 2 ** this.reopens, LONGEST_REOPEN_INTERVAL);
      this.reopenAt = this.context.now() + interval;
    } else if (this.state === 'closed') {
      this.wanted = false;
    }
    // Tries that go on for hours say it once, whoever asks for them.
    if (reason !== this.complained) this.context.log('warn', `adapter can't be opened: ${reason}`);
    this.complained = reason;
    this.reason = reason;
    this.context.onChange();
  }

  /** A LAN neighbour known before a restart; taken up when the adapter is open. */
  remember(key: number, mac: Uint8Array): void {
    this.remembered.push([key, mac]);
  }

  /** Neighbours to remember over a restart: address key and MAC as text. */
  *knownNeighbours(): IterableIterator<[key: number, mac: string]> {
    yield* this.neighbours.entries();
    for (const [key, mac] of this.remembered) yield [key, macText(mac)];
  }

  /** A VM with these addresses (keys) attached: tell the LAN. */
  announce(keys: readonly number[]): void {
    if (this.state === 'open') this.arp.announce(keys, this.context.now());
  }

  // --- the interface ----------------------------------------------------------------------------------

  /** An rtnetlink message about any interface. */
  linkChanged(link: LinkMessage): void {
    const name = this.plan.interface;
    if (this.socket !== null && link.index === this.socket.interfaceIndex) {
      if (link.deleted) this.lost(`interface ${name} was deleted`);
      // Its identity is its name, not its index.
      else if (link.name !== '' && !this.hasOurName(link)) {
        this.lost(`interface ${name} was renamed to ${link.name}`);
      } else {
        this.update(link.mtu, link.mac, link.up);
        if (this.plan.coupleUdp === 'auto') this.readFeatures();
      }
    } else if (this.state === 'gone' && this.wanted && !link.deleted && this.hasOurName(link)) {
      this.reopens = 0;
      this.askToOpen();
    }
  }

  /** The interface has our name: as its own, or as one of its alternative names (`ip link property`), which messages don't begin with. */
  private hasOurName(link: LinkMessage): boolean {
    const { interface: name } = this.plan;
    if (link.name === name) return true;
    // The kernel looks for a module of that name where there is no such interface, and we wait for it: not for everybody's messages.
    if (!link.otherNames) return false;
    const info = this.readInterface();
    return info === undefined || info?.index === link.index;
  }

  /** The interface that has our name now; null: there is none; undefined: that can't be seen now, and is looked at again soon. */
  private readInterface(): InterfaceInfo | null | undefined {
    try {
      return this.context.native.interfaceInfo(this.plan.interface);
    } catch (error) {
      if (NO_INTERFACE.has((error as NodeJS.ErrnoException).code)) return null;
      this.lookAt = this.context.now() + LOOK_INTERVAL;
      this.context.due(this.lookAt);
      return undefined;
    }
  }

  /** Reads the interface's state anew: messages about it may have been lost. */
  refreshLink(): void {
    const name = this.plan.interface;
    const info = this.readInterface();
    if (info === undefined) return;
    if (this.socket !== null) {
      if (info === null || info.index !== this.socket.interfaceIndex) {
        this.lost(`interface ${name} was deleted or renamed`);
      } else {
        this.couple(info.takesLongUdp);
        this.update(info.mtu, info.mac, isUp(info.flags));
      }
    }
    if (this.state === 'gone' && this.wanted && info !== null) {
      this.reopens = 0;
      this.askToOpen();
    }
  }

  /**
   * Timers: neighbours, announcements, statistics. Call before every sleep, which should not be longer than the milliseconds
   * returned (Infinity: nothing to do).
   */
  tick(now: Milliseconds): Milliseconds {
    if (now >= this.reopenAt) {
      this.reopenAt = Number.POSITIVE_INFINITY;
      this.reopens++;
      this.askToOpen();
    }
    if (now >= this.lookAt) {
      this.lookAt = Number.POSITIVE_INFINITY;
      this.refreshLink();
    }
    if (this.socket === null) return Math.max(0, Math.min(this.reopenAt, this.lookAt) - now);
    if (now >= this.statisticsAt) {
      this.statisticsAt = now + STATISTICS_INTERVAL;
      this.socket.readStatistics();
    }
    let next = Math.min(this.statisticsAt, this.lookAt);
    next = Math.min(next, this.neighbours.tick(now), this.arp.tick(now));
    return Math.max(0, next - now);
  }

  /** For the status; who opened it is the control service's knowledge. */
  detail(): AdapterCondition {
    const attached = this.socket !== null;
    return {
      state: this.state,
      mac: attached ? macText(this.mac) : null,
      mtu: attached ? this.mtu : null,
      neighbours: this.neighbours.known,
      reason: this.reason,
    };
  }

  /** Closes sockets that came too late. */
  private drop(opened: OpenedSockets): void {
    const { fd, doorbell, interfaceIndex } = opened;
    const { native, plan } = this.context;
    closeSockets(native, { rings: fd, doorbell: doorbell.fd }, interfaceIndex, plan.mac);
  }

  /** No message says what the features are, but there is one when they change. */
  private readFeatures(): void {
    const info = this.readInterface();
    // Where there is none of that name now, messages about that follow.
    if (info && info.index === this.socket?.interfaceIndex) this.couple(info.takesLongUdp);
  }

  private couple(takesLongUdp: boolean): void {
    if (!this.socket!.couple(takesLongUdp)) return;
    const { couplesUdp } = this.socket!;
    const why = couplesUdp ? 'the kernel cuts what is coupled' : 'the interface takes long frames';
    this.context.log('info', `coupleUdp is ${couplesUdp ? 'on' : 'off'}: ${why}`);
  }

  private askToOpen(): void {
    if (this.opening) return;
    this.opening = true;
    this.context.requestOpen();
  }

  private update(mtu: number | null, mac: Uint8Array | null, up: boolean): void {
    let changed = false;
    if (mtu !== null && mtu !== this.mtu) {
      this.context.log('info', `MTU changed from ${this.mtu} to ${mtu}`);
      this.mtu = mtu;
      changed = true;
    }
    if (mac !== null && !this.fixedMac && !isGroup(mac) && macText(mac) !== macText(this.mac)) {
      this.mac.set(mac);
      this.context.log('info', `MAC address changed to ${macText(mac)}`);
      if (this.state === 'open') this.arp.announceAll(this.context.now());
      changed = true;
    }
    if (up && this.state === 'down') this.goUp();
    else if (!up && this.state === 'open') this.goDown();
    else if (changed) this.context.onChange();
  }

  private goUp(): void {
    this.become('open', 0, '');
    for (const [key, mac] of this.remembered.splice(0)) {
      if (this.context.addresses.owner(key) < 0)
        this.neighbours.recall(key, mac, this.context.now());
    }
    this.arp.announceAll(this.context.now());
  }

  private goDown(): void {
    this.socket?.rewind();
    this.arp.stop();
    this.become('down', CELL.adapterDown, `interface ${this.plan.interface} is down`);
    this.neighbours.clear(CELL.adapterDown);
  }

  /** The interface went away; the socket is dead. Whoever opened it still wants it. */
  private lost(reason: string): void {
    this.detach('gone', CELL.adapterGone, reason);
  }

  private detach(state: 'closed' | 'gone', cell: number, reason: string): void {
    this.arp.stop();
    this.reopenAt = Number.POSITIVE_INFINITY;
    this.socket?.close();
    this.socket = null;
    if (this.state !== state || this.reason !== reason) this.become(state, cell, reason);
    this.neighbours.clear(cell);
  }

  private become(state: AdapterState, cell: number, reason: string): void {
    const before = this.state;
    this.state = state;
    this.refusal = cell;
    this.reason = reason;
    if (before !== state) this.noteState(before);
    this.context.onChange();
  }

  /** What stops datagrams is a warning. That it was opened has been said, with more about it. */
  private noteState(before: AdapterState): void {
    const { state, reason } = this;
    if (state === 'closed') this.context.log('info', 'adapter is closed', { reason });
    else if (state !== 'open') this.context.log('warn', `adapter is ${state}`, { reason });
    else if (before === 'down') this.context.log('info', 'adapter is open again');
  }
}

/** Some adapter's receive ring has something. */
export function haveWork(adapters: readonly Adapter[]): boolean {
  for (let index = 0; index < adapters.length; index++) {
    if (adapters[index].hasWork()) return true;
  }
  return false;
}
