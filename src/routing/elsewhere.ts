/**
 * What a VM sends that is not a plain datagram to another VM: ARP, the base's own address, the world behind the adapter, broadcasts, and
 * all that can't be delivered and deserves an ICMP error. Less hot, still without allocation for what a guest can send at will.
 */
import type { Port } from '../port/port.ts';
import { type BaseStorage, HEADER_BYTES } from '../storage/base-storage.ts';
import { BASE } from '../storage/outbox.ts';
import * as arp from '../wire/arp.ts';
import * as ethernet from '../wire/ethernet.ts';
import * as icmp from '../wire/icmp.ts';
import * as ipv4 from '../wire/ipv4.ts';
import { BROADCAST_KEY, isMulticast } from '../wire/ipv4-address.ts';
import { isGroup, isZero, same } from '../wire/mac.ts';
import * as udp from '../wire/udp.ts';
import { arpReply, arpRequest } from './answers/arp.ts';
import { isEchoRequest } from './answers/echo-reply.ts';
import { shortenError } from './answers/icmp-error.ts';
import { queueUdp } from './answers/udp-packet.ts';
import { TokenBuckets } from '../token-buckets.ts';
import type { RoutingContext } from './context.ts';
import { ARP, notRouted } from './ether-types.ts';
import { IcmpAnswers } from './icmp-answers.ts';
import { isMartian, isRoutable } from './martian.ts';
import type { Network } from './network.ts';
import { longestDatagram, needsChecksum, needsSegmentation } from './offload.ts';
import { Pieces, WHOLE } from './pieces.ts';
import type { Router } from './router.ts';
import { AT_ADAPTERS, BROADCAST, CONSUMED, drop, dropCell, HELD, isDrop } from './verdict.ts';

/** UDP port of the control protocol on the base's own address. */
export const CONTROL_PORT = 7356;

const IP = ethernet.HEADER_BYTES;

const SPOOFED = drop('spoofed');
const MARTIAN = drop('martian');
const NO_ROUTE = drop('noRoute');
const TOO_BIG = drop('tooBig');
const BAD_SEGMENTATION = drop('badSegmentation');
const ARP_INVALID = drop('arpInvalid');
const ARP_LIMITED = drop('arpLimited');
const STORAGE_FULL = drop('storageFull');
const BROADCAST_LIMITED = drop('broadcastLimited');
const NOT_SERVED = drop('notServed');
const ICMP_LIMITED = drop('icmpLimited');

/** Answers a second and in a row that one VM can make the base give. A scan of a /22 in one go stays below. */
const ARP_REPLIES = { rate: 1000, burst: 1024 };
/** Multicasts, too: ten megabits a second of them. Each is copied to every VM of the network. */
const BROADCASTS = { rate: 1000, burst: 500 };
/** Milliseconds between two questions for a VM's MAC. */
const MAC_ASK_INTERVAL = 200;

export class Elsewhere {
  readonly answers: IcmpAnswers;
  private readonly context: RoutingContext;
  private readonly router: Router;
  private readonly storage: BaseStorage;
  private readonly pieces: Pieces;
  private readonly arpReplies: TokenBuckets;
  private readonly broadcasts: TokenBuckets;

  constructor(context: RoutingContext, router: Router) {
    this.context = context;
    this.router = router;
    this.storage = context.storage;
    this.answers = new IcmpAnswers(context, router);
    this.pieces = new Pieces(context.storage, router);
    const vms = context.ports.length;
    this.arpReplies = new TokenBuckets(vms, ARP_REPLIES.rate, ARP_REPLIES.burst);
    this.broadcasts = new TokenBuckets(vms, BROADCASTS.rate, BROADCASTS.burst);
  }

  /** Takes the source of a first frame as the VM's MAC; false when it can't be one. */
  learnMac(slot: number, port: Port): boolean {
    const source = this.storage.at[slot] + ethernet.SOURCE;
    const { bytes } = this.storage;
    const network = this.context.networks[port.network];
    if (isGroup(bytes, source) || isZero(bytes, source) || same(bytes, source, network.mac, 0))
      return false;
    port.setMac(bytes, source);
    return true;
  }

  /** Asks a VM that has not sent anything yet for its MAC; what goes to it meanwhile is addressed to all. */
  askMac(target: Port, network: Network): void {
    if (this.router.now - target.macAsked < MAC_ASK_INTERVAL) return;
    target.macAsked = this.router.now;
    this.context.outbox.add(
      BASE,
      target.number,
      arpRequest(network.mac, network.address, target.address),
    );
  }

  /** True when the address is one of the port's, or behind it. A wide prefix has addresses in it that are no host's. */
  owns(port: Port, network: Network, source: number): boolean {
    if (network.addresses.find(source) === port.number) return true;
    if (!network.hasPrefixes || !isRoutable(source)) return false;
    return network.behind(source) === port.number;
  }

  /** A frame of a VM that does not carry IPv4. */
  notIp(slot: number, port: Port, network: Network): number {
    const type = this.storage.halves[(this.storage.at[slot] + ethernet.ETHER_TYPE) >> 1];
    return type === ARP ? this.arpFromVm(slot, port, network) : notRouted(type);
  }

  /** RFC 826. The base is the owner of every address but the VM's own; probes for duplicates (RFC 5227) stay unanswered. */
  private arpFromVm(slot: number, port: Port, network: Network): number {
    const { storage } = this;
    const packet = storage.at[slot] + IP;
    const { bytes } = storage;
    if (!arp.check(bytes, packet, storage.length[slot] - IP)) return ARP_INVALID;
    if (!same(bytes, packet + arp.SENDER_MAC, bytes, storage.at[slot] + ethernet.SOURCE))
      return SPOOFED;
    const sender = arp.senderIp(bytes, packet);
    const target = arp.targetIp(bytes, packet);
    if (sender === 0) return CONSUMED; // a probe
    if (!this.owns(port, network, sender)) return SPOOFED;
    const operation = arp.operation(bytes, packet);
    if (operation === arp.REPLY) return CONSUMED; // tells us the MAC, which we know by now
    if (operation !== arp.REQUEST) return ARP_INVALID;
    if (target === sender || this.owns(port, network, target)) return CONSUMED;
    if (!this.arpReplies.take(port.number, this.router.now)) return ARP_LIMITED;
    const reply = arpReply(storage, slot, network.mac, false);
    if (reply < 0) return STORAGE_FULL;
    storage.to[reply] = port.number;
    return CONSUMED;
  }

  /** A checked IPv4 datagram of a VM that is not simply for another VM. */
  fromVm(slot: number, port: Port, network: Network, owner: number): number {
    const { bytes, words } = this.storage;
    const at = this.storage.at[slot];
    const destination = words[(at + IP + ipv4.DESTINATION) >> 2];
    if (owner === port.number) return MARTIAN; // to itself: never leaves a sane host
    if (owner >= 0) {
      // For a VM, but longer than the network takes, unless segmentation makes it fit.
      return this.toVm(slot, this.context.ports[owner], network, false);
    }
    if (destination === network.address) return this.toBase(slot, port, network);
    if (
      destination === network.broadcast ||
      destination === BROADCAST_KEY ||
      isMulticast(destination)
    ) {
      // The copies are made whole for whoever is there: nobody's capabilities are asked, and nothing is segmented.
      if (needsSegmentation(this.storage, slot)) return BAD_SEGMENTATION;
      if (longestDatagram(this.storage, slot) > network.mtu) return TOO_BIG;
      if (!this.broadcasts.take(port.number, this.router.now)) return BROADCAST_LIMITED;
      return BROADCAST;
    }
    if (destination === network.subnet.key || isMartian(destination)) return MARTIAN;
    const inside = network.isInside(destination);
    if (!inside) {
      const behind = network.behind(destination);
      if (behind === port.number) return MARTIAN;
      if (behind >= 0) return this.toVm(slot, this.context.ports[behind], network, true);
    }
    const { adapter } = network;
    if (adapter === null) {
      const code = inside ? icmp.HOST_UNREACHABLE : icmp.NET_UNREACHABLE;
      return this.unreachable(slot, code, NO_ROUTE);
    }
    if (this.context.adaptersElsewhere) return AT_ADAPTERS;
    if (adapter.refusal !== 0)
      return this.unreachable(slot, icmp.NET_UNREACHABLE, dropCell(adapter.refusal));
    let nextHop = destination;
    if (!inside) {
      if (network.nextHop === 0) return this.unreachable(slot, icmp.NET_UNREACHABLE, NO_ROUTE);
      if (bytes[at + IP + ipv4.TIME_TO_LIVE] <= 1) return this.answers.expired(slot);
      nextHop = network.nextHop;
    }
    if (longestDatagram(this.storage, slot) > adapter.mtu) {
      const pieces = this.pieces.cut(slot, adapter.mtu);
      if (pieces !== WHOLE) return this.pieces.toAdapter(pieces, adapter, nextHop, !inside);
      return this.answers.tooBig(slot, adapter.mtu);
    }
    if (!inside) ipv4.decrementTimeToLive(bytes, at + IP);
    const verdict = adapter.resolve(slot, nextHop);
    if (isDrop(verdict) && adapter.neighbours.failed(nextHop))
      return this.unreachable(slot, icmp.HOST_UNREACHABLE, verdict);
    return verdict;
  }

  /**
   * Tells a VM that the LAN neighbour for whom its `packet` (virtio-net header and frame) waited did not answer (RFC 1812 §5.2.7.1). It is
   * quoted as it would have left: with a lower time to live, where it goes to the next hop.
   * Between turns only: base storage is empty then, and is so again.
   */
  unreached(from: number, packet: Uint8Array): void {
    const { storage } = this;
    storage.clear();
    const slot = storage.take(from, packet.length - HEADER_BYTES);
    storage.bytes.set(packet, storage.at[slot] - HEADER_BYTES);
    this.answers.unreachable(slot, icmp.HOST_UNREACHABLE);
    const error = slot + 1;
    if (storage.count > error) {
      const start = storage.at[error] - HEADER_BYTES;
      const end = storage.at[error] + storage.length[error];
      this.context.outbox.add(BASE, from, storage.bytes.slice(start, end));
    }
    storage.clear();
  }

  /** To a VM, in pieces where it is too large for it or the network and may be cut; `hop`: with a lower time to live, if that is left. */
  toVm(slot: number, target: Port, network: Network, hop: boolean): number {
    const { bytes, at } = this.storage;
    if (hop && bytes[at[slot] + IP + ipv4.TIME_TO_LIVE] <= 1) return this.answers.expired(slot);
    const mtu = this.router.mtuTo(target, network);
    if (longestDatagram(this.storage, slot) > mtu) {
      const pieces = this.pieces.cut(slot, mtu);
      if (pieces !== WHOLE) return this.pieces.toVm(pieces, target, network, hop);
      return this.answers.tooBig(slot, mtu);
    }
    if (hop) ipv4.decrementTimeToLive(bytes, at[slot] + IP);
    return this.router.toVm(slot, target, network);
  }

  /**
   * The verdict for what another worker had the base say to a VM of ours. That worker knows the network's MTU only; where the driver was told a smaller one, an ICMP
   * error quotes less, and a control reply goes in fragments.
   */
  saidElsewhere(slot: number, target: Port, network: Network): number {
    const { storage } = this;
    const mtu = this.router.mtuTo(target, network);
    const start = storage.at[slot] - HEADER_BYTES;
    const end = storage.at[slot] + storage.length[slot];
    if (storage.length[slot] - IP <= mtu || shortenError(storage, slot, mtu)) return target.number;
    queueUdp(this.context.outbox, target.number, storage.bytes.slice(start, end), mtu);
    return HELD;
  }

  /** For the base's own address: control requests, echo requests; nothing else is served. */
  private toBase(slot: number, port: Port, network: Network): number {
    const { storage } = this;
    const { bytes } = storage;
    const at = storage.at[slot];
    const ip = at + IP;
    if (isEchoRequest(storage, slot)) return this.answers.echo(slot);
    const protocol = bytes[ip + ipv4.PROTOCOL];
    if (protocol === ipv4.PROTOCOL_ICMP || ipv4.isFragment(bytes, ip)) return NOT_SERVED;
    const header = ipv4.headerLength(bytes, ip);
    const length = storage.length[slot] - IP - header;
    if (protocol === ipv4.PROTOCOL_UDP) {
      if (!udp.check(bytes, ip + header, length)) return NOT_SERVED;
      if (udp.destinationPort(bytes, ip + header) === CONTROL_PORT) {
        const { words } = storage;
        const from = words[(ip + ipv4.SOURCE) >> 2];
        // A damaged request must not be obeyed; what its sender leaves to the device was not damaged yet (RFC 1122 §4.1.3.4).
        if (
          !needsChecksum(storage, slot) &&
          !udp.checksumOk(bytes, ip + header, from, network.address)
        )
          return NOT_SERVED;
        if (this.context.adaptersElsewhere) return AT_ADAPTERS;
        if (!this.context.admitsControl(port)) return CONSUMED;
        const start = ip + header + udp.HEADER_BYTES;
        const end = ip + header + udp.length(bytes, ip + header);
        this.context.control(
          port,
          from,
          udp.sourcePort(bytes, ip + header),
          bytes.subarray(start, end),
        );
        return CONSUMED;
      }
    }
    const code =
      protocol === ipv4.PROTOCOL_UDP || protocol === ipv4.PROTOCOL_TCP
        ? icmp.PORT_UNREACHABLE
        : icmp.PROTOCOL_UNREACHABLE;
    return this.answers.unreachable(slot, code) ? CONSUMED : ICMP_LIMITED;
  }

  private unreachable(slot: number, code: number, verdict: number): number {
    this.answers.unreachable(slot, code);
    return verdict;
  }
}
