/**
 * What comes from the LAN: ARP, datagrams for VMs, echo requests to the base's own address. All else is not ours. Nobody out
 * there may speak with an address of ours.
 */
import type { Adapter } from '../adapter/adapter.ts';
import { BASE } from '../base/outbox.ts';
import { CELL } from '../counters.ts';
import { BROADCAST_KEY, isMulticast } from '../wire/ipv4-address.ts';
import * as ipv4 from '../wire/ipv4.ts';
import { echoReply, isEchoRequest } from './answers/echo-reply.ts';
import { TokenBuckets } from './answers/rate-limit.ts';
import { ECHO_REPLIES, type ElsewhereContext } from './elsewhere.ts';
import { isMartian } from './martian.ts';
import type { Network } from './network.ts';
import { clearOffload } from './offload.ts';
import { checkReceivedOffload } from './offload-received.ts';
import type { Router } from './router.ts';
import { drop, dropCell } from './verdict.ts';

// Read once: the table of cells is too large for V8 to keep as a fast object.
const DELIVERED = CELL.delivered;

const IP = 14;
const NO_OPTIONS = 20;
/** EtherTypes as a little-endian machine reads them. */
const IPV4 = 0x0008;
const ARP = 0x0608;
const IPV6 = 0xdd86;
const VLAN = 0x0081;
const SERVICE_VLAN = 0xa888;

const RUNT = drop('runt');
const NOT_IP = drop('notIp');
const IPV6_DROP = drop('ipv6');
const VLAN_DROP = drop('vlan');
const BAD_IP = drop('badIp');
const IP_OPTIONS = drop('ipOptions');
const MARTIAN = drop('martian');
const SPOOFED = drop('spoofed');
const NOT_OURS = drop('notOurs');
const TOO_BIG = drop('tooBig');
const ICMP_LIMITED = drop('icmpLimited');

export class FromAdapter {
  private readonly context: ElsewhereContext;
  private readonly router: Router;
  private readonly echoes: TokenBuckets;

  constructor(context: ElsewhereContext, router: Router) {
    this.context = context;
    this.router = router;
    this.echoes = new TokenBuckets(context.adapters.length, ECHO_REPLIES.rate, ECHO_REPLIES.burst);
  }

  /** Verdict for a frame out of the receive ring of adapter number `index`. */
  route(slot: number, index: number, adapter: Adapter, network: Network): number {
    const { storage } = this.context;
    const { bytes, halves, words } = storage;
    const at = storage.at[slot];
    if (storage.length[slot] < IP) return RUNT;
    switch (halves[(at + 12) >> 1]) {
      case IPV4:
        break;
      case ARP:
        return adapter.receiveArp(slot);
      case IPV6:
        return IPV6_DROP;
      case VLAN:
      case SERVICE_VLAN:
        return VLAN_DROP;
      default:
        return NOT_IP;
    }
    const ip = (at + IP) >> 2;
    if (!ipv4.checkWords(words, ip, storage.length[slot] - IP)) return BAD_IP;
    storage.length[slot] = IP + ipv4.totalLength(bytes, at + IP);
    const options = ipv4.headerLength(bytes, at + IP) !== NO_OPTIONS;
    if (options && ipv4.sourceRouted(bytes, at + IP)) return IP_OPTIONS;
    const source = words[ip + 3];
    const destination = words[ip + 4];
    if (isMartian(source) || isMulticast(source) || source === BROADCAST_KEY) return MARTIAN;
    if (source === network.address || owner(network, source) >= 0) return SPOOFED;
    if (halves[(at - 12) >> 1] === 0) clearOffload(storage, slot);
    else {
      const fault = checkReceivedOffload(storage, slot);
      if (fault !== 0) return dropCell(fault);
    }
    const target = owner(network, destination);
    if (target < 0) return this.toBase(slot, index, adapter, network);
    if (this.router.longest(slot) > network.mtu) return TOO_BIG;
    return this.router.toVm(slot, this.context.ports[target], network);
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
