/**
 * What the base says by ICMP, back through the port that a datagram came from, to a VM or a host on the LAN: errors about what it can't
 * forward (RFC 1812 §4.3), and replies to pings of its own address. Each port can make it say only so many.
 */
import { CELL, RECORD_CELLS } from '../counters.ts';
import { BASE } from '../storage/outbox.ts';
import * as icmp from '../wire/icmp.ts';
import { echoReply } from './answers/echo-reply.ts';
import { icmpError, mayReport } from './answers/icmp-error.ts';
import { TokenBuckets } from '../token-buckets.ts';
import type { RoutingContext } from './context.ts';
import type { Network } from './network.ts';
import type { Router } from './router.ts';
import { drop } from './verdict.ts';

const DELIVERED = CELL.delivered;

/** A second and in a row, of one port. */
const ERRORS = { rate: 100, burst: 50 };
export const ECHO_REPLIES = { rate: 100_000, burst: 10_000 };

const ICMP_LIMITED = drop('icmpLimited');
const TTL_EXPIRED = drop('ttlExpired');
const TOO_BIG = drop('tooBig');

export class IcmpAnswers {
  private readonly context: RoutingContext;
  private readonly router: Router;
  private readonly errors: TokenBuckets;
  private readonly echoes: TokenBuckets;

  constructor(context: RoutingContext, router: Router) {
    this.context = context;
    this.router = router;
    const ports = context.ports.length + context.adapters.length;
    this.errors = new TokenBuckets(ports, ERRORS.rate, ERRORS.burst);
    this.echoes = new TokenBuckets(ports, ECHO_REPLIES.rate, ECHO_REPLIES.burst);
  }

  /** Makes the echo request in `slot` (`isEchoRequest`) its own reply; the verdict. */
  echo(slot: number): number {
    const { storage, counters } = this.context;
    const port = storage.from[slot];
    if (!this.echoes.take(port, this.router.now)) return ICMP_LIMITED;
    echoReply(storage, slot, this.macAt(port));
    // The slot has become the base's answer: what was received counts as delivered here.
    counters.cells[port * RECORD_CELLS + DELIVERED]++;
    storage.from[slot] = BASE;
    return port;
  }

  /** Says that the time to live ran out; the verdict. */
  expired(slot: number): number {
    this.say(slot, icmp.TIME_EXCEEDED, icmp.TTL_EXCEEDED, 0);
    return TTL_EXPIRED;
  }

  /** RFC 1191: says that no more than `mtu` bytes fit; the verdict. */
  tooBig(slot: number, mtu: number): number {
    this.say(slot, icmp.UNREACHABLE, icmp.FRAGMENTATION_NEEDED, mtu);
    return TOO_BIG;
  }

  /** Says that the destination can't be reached, for the reason in `code`; whether it was said. */
  unreachable(slot: number, code: number): boolean {
    return this.say(slot, icmp.UNREACHABLE, code, 0);
  }

  /**
   * An error about the datagram in `slot`, unchanged since it was received but for its time to live. `rest`: second word of the ICMP
   * header. False, and nothing, where no error may be said, too many were, or storage is full.
   */
  private say(slot: number, type: number, code: number, rest: number): boolean {
    const { storage } = this.context;
    const port = storage.from[slot];
    if (!mayReport(storage, slot) || !this.errors.take(port, this.router.now)) return false;
    const { address } = this.networkOf(port);
    const most = this.mtuBack(port);
    const error = icmpError(storage, slot, type, code, rest, address, this.macAt(port), most);
    if (error < 0) return false;
    storage.to[error] = port;
    return true;
  }

  private networkOf(port: number): Network {
    const { ports, adapters, networks } = this.context;
    if (port < ports.length) return networks[ports[port].network];
    return networks[adapters[port - ports.length].plan.network];
  }

  /** The base's own MAC address as those behind a port know it. */
  private macAt(port: number): Uint8Array {
    const { ports, adapters } = this.context;
    return port < ports.length ? this.networkOf(port).mac : adapters[port - ports.length].mac;
  }

  /** Bytes of the longest IP datagram that may go back through a port. */
  private mtuBack(port: number): number {
    const { ports, adapters } = this.context;
    // Of an adapter of another worker it is not known here.
    if (port >= ports.length) return adapters[port - ports.length].mtu || this.networkOf(port).mtu;
    return this.router.mtuTo(ports[port], this.networkOf(port));
  }
}
