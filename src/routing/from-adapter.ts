/**
 * What comes from the LAN: ARP, datagrams for VMs, echo requests to the base's own address. All else is not ours. Nobody out
 * there may speak with an address of ours.
 */
import { HEADER_BYTES } from '../storage/base-storage.ts';
import * as ethernet from '../wire/ethernet.ts';
import { BROADCAST_KEY, isMulticast } from '../wire/ipv4-address.ts';
import * as ipv4 from '../wire/ipv4.ts';
import { isGroup, isZero, same } from '../wire/mac.ts';
import { isEchoRequest } from './answers/echo-reply.ts';
import type { RoutingContext } from './context.ts';
import type { Elsewhere } from './elsewhere.ts';
import { ARP, IPV4, notRouted } from './ether-types.ts';
import { isMartian, isRoutable } from './martian.ts';
import type { Network } from './network.ts';
import { clearOffload } from './offload.ts';
import { checkReceivedOffload } from './offload-received.ts';
import { drop, dropCell } from './verdict.ts';
import type { WayOut } from './way-out.ts';

const IP = ethernet.HEADER_BYTES;

const RUNT = drop('runt');
const BAD_IP = drop('badIp');
const IP_OPTIONS = drop('ipOptions');
const MARTIAN = drop('martian');
const SPOOFED = drop('spoofed');
const NOT_OURS = drop('notOurs');

export class FromAdapter {
  private readonly context: RoutingContext;
  private readonly elsewhere: Elsewhere;

  constructor(context: RoutingContext, elsewhere: Elsewhere) {
    this.context = context;
    this.elsewhere = elsewhere;
  }

  /** Verdict for a frame out of the receive ring of an adapter, which is the network's. */
  route(slot: number, adapter: WayOut, network: Network): number {
    const { storage, ports } = this.context;
    const { bytes, halves, words } = storage;
    const at = storage.at[slot];
    if (storage.length[slot] < IP) return RUNT;
    const type = halves[(at + ethernet.ETHER_TYPE) >> 1];
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
      source === network.subnet.key ||
      isGroup(bytes, at + ethernet.SOURCE) ||
      isZero(bytes, at + ethernet.SOURCE) ||
      same(bytes, at + ethernet.SOURCE, adapter.mac, 0)
    )
      return MARTIAN;
    if (source === network.address || owner(network, source) >= 0) return SPOOFED;
    if (halves[(at - HEADER_BYTES) >> 1] === 0) clearOffload(storage, slot);
    else {
      const fault = checkReceivedOffload(storage, slot);
      if (fault !== 0) return dropCell(fault);
    }
    // What came to everybody is no one VM's, and an answer to everybody would go to all of them (RFC 1122 §3.3.6, RFC 1812 §5.3.4).
    if (isGroup(bytes, at)) return NOT_OURS;
    const target = network.addresses.find(destination);
    if (target >= 0) return this.elsewhere.toVm(slot, ports[target], network, false);
    const behind = network.behind(destination);
    if (behind >= 0) {
      if (!isRoutable(destination)) return MARTIAN;
      return this.elsewhere.toVm(slot, ports[behind], network, true);
    }
    // For no VM: the base answers echo requests to its own address, and has no other business with the LAN.
    if (destination !== network.address || !isEchoRequest(storage, slot)) return NOT_OURS;
    return this.elsewhere.answers.echo(slot);
  }
}

/** The port that owns the address or has it behind itself, or below 0. */
function owner(network: Network, key: number): number {
  const port = network.addresses.find(key);
  if (port >= 0 || !network.hasPrefixes) return port;
  return network.behind(key);
}
