/**
 * ARP on the LAN (RFC 826, RFC 5227): the base answers for the addresses on its list with the adapter's MAC, announces them, and
 * asks for neighbours. What the LAN says is believed only about neighbours that were asked for, never about our own addresses.
 */
import { BASE } from '../storage/outbox.ts';
import { arpReply, arpRequest, gratuitousArp } from '../routing/answers/arp.ts';
import { TokenBuckets } from '../token-buckets.ts';
import { CONSUMED, drop } from '../routing/verdict.ts';
import { HEADER_BYTES } from '../storage/base-storage.ts';
import * as arp from '../wire/arp.ts';
import * as ethernet from '../wire/ethernet.ts';
import { dotted, isHost, keyOf, maskKey } from '../wire/ipv4-address.ts';
import { copy, isGroup, isZero, macText, same } from '../wire/mac.ts';
import type { AdapterContext, Milliseconds } from './context.ts';
import type { Neighbours } from './neighbours.ts';

const ARP_INVALID = drop('arpInvalid');
const ARP_LIMITED = drop('arpLimited');
const NOT_OURS = drop('notOurs');
const STORAGE_FULL = drop('storageFull');

/** Replies a second; a LAN of some thousand hosts stays below. */
const REPLIES = { rate: 1000, burst: 1000 };
/** RFC 5227 §2.3: each announcement twice, two seconds apart. */
const ANNOUNCEMENTS = 2;
const ANNOUNCE_INTERVAL: Milliseconds = 2000;
/** The same address again: not sooner than this. */
const ANNOUNCE_AGAIN: Milliseconds = 200;
const NEVER: Milliseconds = Number.NEGATIVE_INFINITY;
/** At most so many announcements at once, the rest a moment later: a long list must not fill the outbox. */
const ANNOUNCE_BATCH = 64;
const ANNOUNCE_PAUSE: Milliseconds = 20;
/** RFC 5227 §2.4 (c): each address is defended by one announcement, at most once in ten seconds. */
const DEFEND_INTERVAL: Milliseconds = 10_000;
/** Claims that are logged, a second and at once: other lines of the adapter must not be lost for them. */
const CLAIMS_LOGGED = { rate: 0.2, burst: 10 };

export class LanArp {
  private readonly context: AdapterContext;
  private readonly neighbours: Neighbours;
  private readonly mac: Uint8Array;
  private readonly baseKey: number;
  private readonly mask: number;
  private readonly replies = new TokenBuckets(1, REPLIES.rate, REPLIES.burst);
  private readonly claims = new TokenBuckets(1, CLAIMS_LOGGED.rate, CLAIMS_LOGGED.burst);
  /** Addresses to announce: when next, how often still, and when last. */
  private readonly announcements = new Map<
    number,
    { at: Milliseconds; left: number; said: Milliseconds }
  >();
  private announceAt: Milliseconds = Number.POSITIVE_INFINITY;
  /** When each address was last defended. */
  private readonly defendedAt = new Map<number, Milliseconds>();

  /** `mac` is the adapter's; kept, and changed in place by the adapter. */
  constructor(context: AdapterContext, neighbours: Neighbours, mac: Uint8Array) {
    this.context = context;
    this.neighbours = neighbours;
    this.mac = mac;
    this.baseKey = keyOf(context.network.address);
    this.mask = maskKey(context.network.prefix);
  }

  /**
   * Takes an ARP frame that came in through the adapter; the verdict for its slot. An answer is appended to base storage with
   * `to` already decided.
   */
  receive(slot: number, now: Milliseconds): number {
    const storage = this.context.storage;
    const bytes = storage.bytes;
    const at = storage.at[slot] + ethernet.HEADER_BYTES;
    if (!arp.check(bytes, at, storage.length[slot] - ethernet.HEADER_BYTES)) return ARP_INVALID;
    const operation = arp.operation(bytes, at);
    const sender = arp.senderIp(bytes, at);
    const senderMac = at + arp.SENDER_MAC;
    if (
      (operation !== arp.REQUEST && operation !== arp.REPLY) ||
      isGroup(bytes, senderMac) ||
      isZero(bytes, senderMac) ||
      same(bytes, senderMac, this.mac, 0)
    ) {
      return ARP_INVALID;
    }
    if (this.isListed(sender)) {
      this.defend(sender, senderMac, now);
      return ARP_INVALID;
    }
    // A sender of 0.0.0.0 probes whether the target's address is free: for ours it is not, so it is answered, too.
    if (sender !== 0 && !isHost(sender)) return ARP_INVALID;
    const learned = this.onSubnet(sender) && this.neighbours.learn(sender, bytes, senderMac, now);
    const target = arp.targetIp(bytes, at);
    if (operation === arp.REQUEST && this.isListed(target)) {
      if (!this.replies.take(0, now)) return ARP_LIMITED;
      const reply = arpReply(storage, slot, this.mac, true);
      if (reply < 0) return STORAGE_FULL;
      storage.to[reply] = this.context.port;
      return CONSUMED;
    }
    return learned ? CONSUMED : NOT_OURS;
  }

  /** Asks the LAN who has `key`; `mac` null: everybody, else only the one who had it (`at` in it). */
  request(key: number, macs: Uint8Array | null, at: number): void {
    const packet = arpRequest(this.mac, this.baseKey, key);
    if (macs !== null) copy(packet, HEADER_BYTES + ethernet.DESTINATION, macs, at);
    this.send(packet);
  }

  /** Announces addresses (a VM attached): now and once again. Who makes us do so all the time is slowed down. */
  announce(keys: readonly number[], now: Milliseconds, times = ANNOUNCEMENTS): void {
    for (const key of keys) {
      const pending = this.announcements.get(key);
      const said = pending?.said ?? NEVER;
      const at = Math.max(now, said + ANNOUNCE_AGAIN);
      this.announcements.set(key, { at, left: Math.max(times, pending?.left ?? 0), said });
      this.announceAt = Math.min(this.announceAt, at);
    }
    this.context.due(this.announceAt);
    this.tick(now);
  }

  /** Announces every listed address and the base's own. */
  announceAll(now: Milliseconds): void {
    const announcement = { at: now, left: ANNOUNCEMENTS, said: NEVER };
    this.announcements.set(this.baseKey, { ...announcement });
    for (const key of this.context.addresses.ownedKeys()) {
      this.announcements.set(key, { ...announcement });
    }
    this.announceAt = now;
    this.tick(now);
  }

  /** Nothing more to announce: the adapter is not open. */
  stop(): void {
    this.announcements.clear();
    this.announceAt = Number.POSITIVE_INFINITY;
  }

  /** Sends announcements that are due; when it wants to be called again. */
  tick(now: Milliseconds): Milliseconds {
    if (now < this.announceAt) return this.announceAt;
    let sent = 0;
    let next = Number.POSITIVE_INFINITY;
    for (const [key, announcement] of this.announcements) {
      if (announcement.at <= now && sent < ANNOUNCE_BATCH) {
        sent++;
        this.send(gratuitousArp(this.mac, key));
        announcement.said = now;
        announcement.at = now + ANNOUNCE_INTERVAL;
        if (--announcement.left === 0) this.announcements.delete(key);
      }
      next = Math.min(next, Math.max(announcement.at, now + ANNOUNCE_PAUSE));
    }
    this.announceAt = this.announcements.size === 0 ? Number.POSITIVE_INFINITY : next;
    this.context.due(this.announceAt);
    return this.announceAt;
  }

  /** True for the base's own address and every VM's. */
  isListed(key: number): boolean {
    return key === this.baseKey || this.context.addresses.owner(key) >= 0;
  }

  private onSubnet(key: number): boolean {
    return ((key ^ this.baseKey) & this.mask) === 0;
  }

  /** Somebody on the LAN says that one of our addresses is his. */
  private defend(key: number, senderMac: number, now: Milliseconds): void {
    if (now - (this.defendedAt.get(key) ?? NEVER) < DEFEND_INTERVAL) return;
    this.defendedAt.set(key, now);
    this.announce([key], now, 1);
    if (!this.claims.take(0, now)) return;
    this.context.log('warn', `somebody else on the LAN claims ${dotted(key)}`, {
      mac: macText(this.context.storage.bytes, senderMac),
    });
  }

  /** A full outbox loses it: whoever needs it asks again. */
  private send(packet: Uint8Array): void {
    this.context.outbox.add(BASE, this.context.port, packet);
  }
}
