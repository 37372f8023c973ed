/**
 * ICMP errors about datagrams that the base can't forward, told to whom they came from, a VM or a host on the LAN (RFC 1812 §4.3).
 * Each port can make the base say only so many.
 */
import { BASE } from '../storage/outbox.ts';
import type { BaseStorage } from '../storage/base-storage.ts';
import * as icmp from '../wire/icmp.ts';
import { icmpError, mayReport } from './answers/icmp-error.ts';
import { TokenBuckets } from './answers/rate-limit.ts';
import type { Router } from './router.ts';
import { drop } from './verdict.ts';

/** Errors a second and in a row that one port can make the base say. */
const RATE = 100;
const BURST = 50;

const TTL_EXPIRED = drop('ttlExpired');
const TOO_BIG = drop('tooBig');

export class IcmpErrors {
  private readonly storage: BaseStorage;
  private readonly router: Router;
  private readonly buckets: TokenBuckets;

  /** `ports`: VMs and adapters. */
  constructor(storage: BaseStorage, router: Router, ports: number) {
    this.storage = storage;
    this.router = router;
    this.buckets = new TokenBuckets(ports, RATE, BURST);
  }

  /**
   * Says an error about the datagram in `slot`, unchanged since it was received but for its time to live, back through the port
   * it came from, where the base is `address` at `mac`, and which takes `back` bytes. `rest`: second word of the ICMP header.
   * Nothing where no error may be said, or too many were.
   */
  say(
    slot: number,
    address: number,
    mac: Uint8Array,
    back: number,
    type: number,
    code: number,
    rest: number,
  ): void {
    const port = this.storage.from[slot];
    if (!mayReport(this.storage, slot) || !this.buckets.take(port, this.router.now)) return;
    const most = this.router.mtuBack(port, back);
    const error = icmpError(this.storage, slot, type, code, rest, address, mac, most);
    if (error < 0) return;
    this.storage.from[error] = BASE;
    this.storage.to[error] = port;
  }

  /** Says that the time to live ran out; the verdict. */
  expired(slot: number, address: number, mac: Uint8Array, back: number): number {
    this.say(slot, address, mac, back, icmp.TIME_EXCEEDED, icmp.TTL_EXCEEDED, 0);
    return TTL_EXPIRED;
  }

  /** RFC 1191: says that no more than `mtu` bytes fit; the verdict. */
  tooBig(slot: number, address: number, mac: Uint8Array, back: number, mtu: number): number {
    this.say(slot, address, mac, back, icmp.UNREACHABLE, icmp.FRAGMENTATION_NEEDED, mtu);
    return TOO_BIG;
  }
}
