/**
 * What comes from the LAN: ARP, datagrams for VMs, echo requests to the base's own address. All else is not ours. Nobody out
 * there may speak with an address of ours.
 */
import type { Adapter } from '../adapter/adapter.ts';
import { BASE } from '../storage/outbox.ts';
import { CELL } from '../counters.ts';
import type { Port } from '../port/port.ts';
import { BROADCAST_KEY, isMulticast } from '../wire/ipv4-address.ts';
import * as ipv4 from '../wire/ipv4.ts';
import { isGroup, isZero, same } from '../wire/mac.ts';
import { echoReply, isEchoRequest } from './answers/echo-reply.ts';
import { TokenBuckets } from './answers/rate-limit.ts';
import type { RoutingContext } from './context.ts';
import { ECHO_REPLIES } from './elsewhere.ts';
import { ARP, IPV4, notRouted } from './ether-types.ts';
import { IcmpErrors } from './icmp-errors.ts';
import { isMartian } from './martian.ts';
import type { Network } from './network.ts';
import { clearOffload } from './offload.ts';
import { checkReceivedOffload } from './offload-received.ts';
import { Pieces, WHOLE } from './pieces.ts';
import type { Router } from './router.ts';
import { drop, dropCell } from './verdict.ts';

// Read once: the table of cells is too large for V8 to keep as a fast object.
const DELIVERED = CELL.delivered;

const IP = 14;
const SOURCE_MAC = 6;

const RUNT = drop('runt');
const BAD_IP = drop('badIp');
const IP_OPTIONS = drop('ipOptions');
const MARTIAN = drop('martian');
const SPOOFED = drop('spoofed');
const NOT_OURS = drop('notOurs');
const ICMP_LIMITED = drop('icmpLimited');

export class FromAdapter {
  private readonly context: RoutingContext;
  private readonly router: Router;
  private readonly echoes: TokenBuckets;
  private readonly errors: IcmpErrors;
  private readonly pieces: Pieces;

  constructor(context: RoutingContext, router: Router) {
    this.context = context;
    this.router = router;
    this.echoes = new TokenBuckets(context.adapters.length, ECHO_REPLIES.rate, ECHO_REPLIES.burst);
    const ports = context.ports.length + context.adapters.length;
    this.errors = new IcmpErrors(context.storage, router, ports);
    this.pieces = new Pieces(context.storage, router);
  }

  /** Verdict for a frame out of the receive ring of adapter number `index`. */
  route(slot: number, index: number, adapter: Adapter, network: Network): number {
    const { storage } = this.context;
    const { bytes, halves, words } = storage;
    const at = storage.at[slot];
    if (storage.length[slot] < IP) return RUNT;
    const type = halves[(at + 12) >> 1];
    if (type !== IPV4) return type === ARP ? adapter.receiveArp(slot) : notRouted(type);
    const ip = (at + IP) >> 2;
    if (!ipv4.checkWords(words, ip, storage.length[slot] - IP)) return BAD_IP;
    storage.length[slot] = IP + ipv4.totalLength(bytes, at + IP);
    const options = ipv4.headerLength(bytes, at + IP) !== ipv4.MIN_HEADER_BYTES;
    if (options && ipv4.sourceRouted(bytes, at + IP)) return IP_OPTIONS;
    const source = words[ip + 3];
    const destination = words[ip + 4];
    if (
      isMartian(source) ||
      isMulticast(source) ||
      source === BROADCAST_KEY ||
      source === network.broadcast ||
      isGroup(bytes, at + SOURCE_MAC) ||
      isZero(bytes, at + SOURCE_MAC) ||
      same(bytes, at + SOURCE_MAC, adapter.mac, 0)
    )
      return MARTIAN;
    if (source === network.address || owner(network, source) >= 0) return SPOOFED;
    if (halves[(at - 12) >> 1] === 0) clearOffload(storage, slot);
    else {
      const fault = checkReceivedOffload(storage, slot);
      if (fault !== 0) return dropCell(fault);
    }
    // What came to everybody is no one VM's, and an answer to everybody would go to all of them (RFC 1122 §3.3.6, RFC 1812 §5.3.4).
    if (isGroup(bytes, at)) return NOT_OURS;
    const target = network.addresses.find(destination);
    if (target >= 0) return this.toVm(slot, adapter, this.context.ports[target], network, false);
    const behind = network.behind(destination);
    if (behind < 0) return this.toBase(slot, index, adapter, network);
    if (bytes[at + IP + ipv4.TIME_TO_LIVE] <= 1)
      return this.errors.expired(slot, network.address, adapter.mac, adapter.mtu);
    return this.toVm(slot, adapter, this.context.ports[behind], network, true);
  }

  /** To a VM, in pieces where it is too large for it or the network and may be cut; `hop`: with a lower time to live. */
  private toVm(
    slot: number,
    adapter: Adapter,
    target: Port,
    network: Network,
    hop: boolean,
  ): number {
    const { bytes, at } = this.context.storage;
    const mtu = this.router.mtuTo(target, network);
    if (this.router.longest(slot) > mtu) {
      const pieces = this.pieces.cut(slot, mtu);
      if (pieces !== WHOLE) return this.pieces.toVm(pieces, target, network, hop);
      return this.errors.tooBig(slot, network.address, adapter.mac, adapter.mtu, mtu);
    }
    if (hop) ipv4.decrementTimeToLive(bytes, at[slot] + IP);
    return this.router.toVm(slot, target, network);
  }

  /** For no VM: the base answers echo requests to its own address, and has no other business with the LAN. */
  private toBase(slot: number, index: number, adapter: Adapter, network: Network): number {
    const { storage } = this.context;
    const destination = storage.words[(storage.at[slot] + IP + ipv4.DESTINATION) >> 2];
    if (destination !== network.address || !isEchoRequest(storage, slot)) return NOT_OURS;
    if (!this.echoes.take(index, this.router.now)) return ICMP_LIMITED;
    echoReply(storage, slot, adapter.mac);
    // The slot has become the base's answer: what was received counts as delivered here.
    this.context.counters.cells[adapter.record + DELIVERED]++;
    storage.from[slot] = BASE;
    return adapter.port;
  }
}

/** The port that owns the address or has it behind itself, or below 0. */
function owner(network: Network, key: number): number {
  const port = network.addresses.find(key);
  if (port >= 0 || network.prefixes.length === 0) return port;
  return network.behind(key);
}
