/**
 * 3. Decides for each datagram in base storage which port gets it, or why nobody does. Everything is decided on the
 * base's copy, which no guest can change any more.
 *
 * The common case, IPv4 from a VM to a VM of the same network without options or offload, has a loop of its own (`plain.ts`).
 * `fromVm` and `toVm` take what that leaves over; what is not for a VM of the same network goes on to `elsewhere.ts`.
 */
import type { Port } from '../port/port.ts';
import { type BaseStorage, HEADER_BYTES as ARENA_HEADER } from '../storage/base-storage.ts';
import * as ethernet from '../wire/ethernet.ts';
import * as ipv4 from '../wire/ipv4.ts';
import type { RoutingContext } from './context.ts';
import { Elsewhere } from './elsewhere.ts';
import { IPV4 as ETHER_TYPE_IPV4, VLAN as ETHER_TYPE_VLAN } from './ether-types.ts';
import { FromAdapter } from './from-adapter.ts';
import type { HandedColumns } from './handed-columns.ts';
import { HandedOver } from './handed-over.ts';
import type { Network } from './network.ts';
import {
  AS_IS,
  checkOffload,
  clearOffload,
  COMPLETE,
  completeChecksum,
  remainingWork,
} from './offload.ts';
import { plainRoute, type RoutePlain } from './plain.ts';
import { takePriorityTag } from './priority-tag.ts';
import { segment } from './segment.ts';
import { drop, dropCell, IN_PIECES, UNDECIDED } from './verdict.ts';
import type { WayOut } from './way-out.ts';
import { CELL, RECORD_CELLS } from '../counters.ts';

const RECEIVED_DATAGRAMS = CELL.receivedDatagrams;

// A module's own constants cost V8 nothing, imported ones a load and a check per use.
const IPV4 = ETHER_TYPE_IPV4;
const VLAN = ETHER_TYPE_VLAN;
const IP = ethernet.HEADER_BYTES;
/** Frame bytes in front of the EtherType and of both parts of the MAC addresses, as base storage has them: a word and a half, a half and a word. */
const TYPE = ethernet.ETHER_TYPE;
const SOURCE_WORD = ethernet.SOURCE;
const SOURCE_HALF = ethernet.SOURCE + 4;
const DESTINATION_WORD = ethernet.DESTINATION + 2;
/** Words of an IP header in front of its addresses. */
const IP_SOURCE = ipv4.SOURCE >> 2;
const IP_DESTINATION = ipv4.DESTINATION >> 2;
const HEADER_BYTES = ARENA_HEADER;
const RECORD = RECORD_CELLS;

const SPOOFED = drop('spoofed');
const BAD_IP = drop('badIp');
const IP_OPTIONS = drop('ipOptions');
const STORAGE_FULL = drop('storageFull');
const RECEIVER_NOT_RUNNING = drop('receiverNotRunning');

export class Router {
  private readonly storage: BaseStorage;
  private readonly ports: Port[];
  private readonly routePlain: RoutePlain;
  private readonly adapters: WayOut[];
  private readonly networks: Network[];
  private readonly adapterNetworks: Network[];
  private readonly cells: Float64Array;
  private readonly elsewhere: Elsewhere;
  private readonly fromAdapter: FromAdapter;
  /** Made when there are several workers. */
  private handedOver: HandedOver | null = null;
  private readonly context: RoutingContext;
  /** VMs of other workers whose datagrams were cut in this turn: nobody here weighs what they bring, so it counts for one turn. */
  private readonly othersThatMade: Int32Array;
  private othersCount = 0;
  private readonly time: Float64Array;

  constructor(context: RoutingContext) {
    this.context = context;
    this.time = context.time;
    this.storage = context.storage;
    this.ports = context.ports;
    this.routePlain = plainRoute(context.storage, context.ports);
    this.adapters = context.adapters;
    this.networks = context.networks;
    this.adapterNetworks = context.adapters.map(
      (adapter) => context.networks[adapter.plan.network],
    );
    this.cells = context.counters.cells;
    this.othersThatMade = new Int32Array(context.ports.length);
    this.elsewhere = new Elsewhere(context, this);
    this.fromAdapter = new FromAdapter(context, this.elsewhere);
  }

  /** There are other workers: what they hand over has origins above all ports', and stands in `columns`. */
  expect(columns: HandedColumns): void {
    this.handedOver = new HandedOver(this.context, columns, this.elsewhere);
  }

  /** Decides for slots [0, end): what the gather stage took. Answers of the base are appended, decided already. */
  route(end: number): void {
    const { from } = this.storage;
    const vms = this.ports.length;
    if (this.othersCount > 0) this.forgetMade();
    let left = 0;
    for (let slot = 0; slot < end; ) {
      const port = from[slot];
      let stop = slot + 1;
      while (stop < end && from[stop] === port) stop++;
      left += port < vms ? this.plain(slot, stop, this.ports[port]) : this.leave(slot, stop);
      slot = stop;
    }
    if (left > 0) this.routeRest(end);
  }

  private plain(first: number, end: number, port: Port): number {
    if (port.current === null || port.current.headerBytes !== HEADER_BYTES || !port.macKnown) {
      return this.leave(first, end);
    }
    return this.routePlain(first, end, port, this.networks[port.network]);
  }

  private leave(first: number, end: number): number {
    const { to } = this.storage;
    // No fill(): for a few slots that call costs more than all the rest of a turn.
    for (let slot = first; slot < end; slot++) to[slot] = UNDECIDED;
    return end - first;
  }

  /** Everything that is not plain, one by one. */
  private routeRest(end: number): void {
    const { storage, ports, adapters } = this;
    const vms = ports.length;
    const all = vms + adapters.length;
    for (let slot = 0; slot < end; slot++) {
      if (storage.to[slot] !== UNDECIDED) continue;
      const from = storage.from[slot];
      storage.to[slot] =
        from < vms
          ? this.fromVm(slot, ports[from])
          : from >= all
            ? this.handedOver!.route(slot)
            : this.fromAdapter.route(slot, adapters[from - vms], this.adapterNetworks[from - vms]);
    }
  }

  /** See `Elsewhere.unreached`. */
  unreached(from: number, packet: Uint8Array): void {
    this.elsewhere.unreached(from, packet);
  }

  /** For rate limits. */
  get now(): number {
    return this.time[0];
  }

  /** A datagram out of a VM's output buffer. */
  private fromVm(slot: number, port: Port): number {
    const { bytes, halves, words } = this.storage;
    let at = this.storage.at[slot];
    const attachment = port.current!;
    if (attachment.headerBytes !== HEADER_BYTES)
      bytes.copyWithin(at - HEADER_BYTES, at - attachment.headerBytes, at);
    if (halves[(at + TYPE) >> 1] === VLAN) {
      takePriorityTag(this.storage, slot);
      at = this.storage.at[slot];
    }
    if (
      words[(at + SOURCE_WORD) >> 2] !== port.macWord ||
      halves[(at + SOURCE_HALF) >> 1] !== port.macHalf
    ) {
      if (port.macKnown || !this.elsewhere.learnMac(slot, port)) return SPOOFED;
    }
    const network = this.networks[port.network];
    if (halves[(at + TYPE) >> 1] !== IPV4) return this.elsewhere.notIp(slot, port, network);
    const ip = (at + IP) >> 2;
    if (!ipv4.checkWords(words, ip, this.storage.length[slot] - IP)) return BAD_IP;
    const first = words[ip];
    // What follows the datagram is padding: it is not passed on.
    this.storage.length[slot] = IP + (((first >>> 8) & 0xff00) | (first >>> 24));
    const source = words[ip + IP_SOURCE];
    if (source !== port.address && !this.elsewhere.owns(port, network, source)) return SPOOFED;
    if ((first & 0x0f) !== 5 && ipv4.sourceRouted(bytes, at + IP)) return IP_OPTIONS;
    if (halves[(at - HEADER_BYTES) >> 1] === 0) {
      clearOffload(this.storage, slot);
    } else {
      const fault = checkOffload(
        this.storage,
        slot,
        attachment.csum,
        attachment.hostTso4,
        attachment.hostEcn,
      );
      if (fault !== 0) return dropCell(fault);
    }
    const owner = network.addresses.find(words[ip + IP_DESTINATION]);
    if (
      owner < 0 ||
      owner === port.number ||
      this.storage.length[slot] - IP > this.mtuTo(this.ports[owner], network)
    ) {
      return this.elsewhere.fromVm(slot, port, network, owner);
    }
    return this.toVm(slot, this.ports[owner], network);
  }

  /** Bytes of the longest IP datagram that this VM of the network takes. A VM of another worker is asked there. */
  mtuTo(target: Port, network: Network): number {
    const { current } = target;
    return current !== null && current.mtu < network.mtu ? current.mtu : network.mtu;
  }

  /** Makes the frame one for that VM: its MAC and the base's, and no offload that it did not negotiate. */
  toVm(slot: number, target: Port, network: Network): number {
    const { halves, words } = this.storage;
    const attachment = target.current;
    if (attachment === null) return RECEIVER_NOT_RUNNING;
    const at = this.storage.at[slot];
    halves[at >> 1] = target.macFirstHalf;
    words[(at + DESTINATION_WORD) >> 2] = target.macLastWord;
    words[(at + SOURCE_WORD) >> 2] = network.macWord;
    halves[(at + SOURCE_HALF) >> 1] = network.macHalf;
    if (!target.macKnown) this.elsewhere.askMac(target, network);
    if (halves[(at - HEADER_BYTES) >> 1] === 0) return target.number;
    const work = remainingWork(
      this.storage,
      slot,
      attachment.guestCsum,
      attachment.guestTso4,
      attachment.guestEcn,
    );
    if (work === AS_IS) return target.number;
    if (work === COMPLETE) {
      completeChecksum(this.storage, slot);
      return target.number;
    }
    return this.inSegments(slot, target.number);
  }

  /** Like `toVm`, for a copy of a broadcast: its destination MAC is everybody's already. Large ones don't exist. */
  toAll(slot: number, target: Port, network: Network): number {
    const { halves, words } = this.storage;
    const at = this.storage.at[slot];
    words[(at + SOURCE_WORD) >> 2] = network.macWord;
    halves[(at + SOURCE_HALF) >> 1] = network.macHalf;
    if (halves[(at - HEADER_BYTES) >> 1] !== 0) completeChecksum(this.storage, slot);
    return target.number;
  }

  /** Segments in software. */
  private inSegments(slot: number, to: number): number {
    const from = this.storage.from[slot];
    if (!this.mayMake(from)) return STORAGE_FULL;
    this.storage.to[slot] = to;
    const first = this.storage.count;
    const count = segment(this.storage, slot);
    if (count < 0) return STORAGE_FULL;
    this.storage.cut(slot, first, count);
    this.noteMade(from, count);
    return IN_PIECES;
  }

  /**
   * Whether slots may be appended for another datagram of a VM's: while it has made fewer than are still free, so that whoever makes many
   * leaves the others theirs. All others may.
   */
  mayMake(from: number): boolean {
    if (from < 0 || from >= this.ports.length) return true;
    return this.ports[from].made <= this.storage.slots - this.storage.count;
  }

  /** So many slots were appended for a datagram: each is one more received, so that the books balance, and made by its VM. */
  noteMade(from: number, count: number): void {
    if (from < 0) return;
    this.cells[from * RECORD + RECEIVED_DATAGRAMS] += count;
    if (from >= this.ports.length) return;
    const port = this.ports[from];
    if (port.remote && port.made === 0 && count > 0) this.othersThatMade[this.othersCount++] = from;
    port.made += count;
  }

  private forgetMade(): void {
    for (let index = 0; index < this.othersCount; index++)
      this.ports[this.othersThatMade[index]].made = 0;
    this.othersCount = 0;
  }
}
