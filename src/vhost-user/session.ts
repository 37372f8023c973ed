/**
 * One front-end connection, from accept to close.
 *
 * Messages are served between turns, so that an answer means that what was asked has taken effect. QEMU waits for answers
 * without a time-out and with its big lock held: nothing here waits for anything. Security model: the front-end is as
 * hostile as its guest; a request is refused (nack) or, where framing is lost, the connection closed. All that
 * it brought - descriptors, mappings - goes with it.
 */
import { Attachment } from '../port/attachment.ts';
import type { Ring } from '../port/ring.ts';
import type { Native } from '../native.ts';
import { EPOLLIN, EPOLLOUT, type Watcher } from '../watcher.ts';
import { type Bits, has, PROTOCOL_FEATURE } from '../virtio/features.ts';
import { ENDED, Framing, MALFORMED, MESSAGE, NEED_REPLY, NOTHING, replyBytes } from './framing.ts';
import { MESSAGES } from './message-table.ts';
import { Refused, u64Reply } from './payload.ts';
import { type Allowance, ROUND } from './allowance.ts';
import { RepeatedRegions } from './repeated-regions.ts';
import { FAILED, Replies, TOO_MANY } from './replies.ts';

/** Milliseconds of a round that count, processor or not: it may have slept for a seal, and the worker may have lost its core. */
const MOST_ASLEEP = 2;
/** Messages served in a row before others get their turn. */
const MESSAGES_PER_ROUND = 16;
/**
 * How many descriptors that a VM's front-ends passed may wait to be closed; eventfds and mappings count only beyond what is usual (native/passed.cc).
 * While more wait, no front-end of the VM is served, and one that passed some meanwhile is disconnected when that lasts CLOSING_DEADLINE: the thread
 * that closes them may have no processor.
 */
const MAX_CLOSING = 64;
const CLOSING_DEADLINE = 2000; // milliseconds
const CLOSING_LOOK = 20; // milliseconds between two looks whether they are
const MESSAGE_DEADLINE = 2000; // milliseconds for the rest of a message
const OWNER_DEADLINE = 10_000; // milliseconds until the first message
/**
 * Milliseconds until SET_LOG_BASE, behind the first SET_VRING_KICK. Whoever has its rings' writes logged (VHOST_VRING_F_LOG) does share a log, however
 * little processor time its host has for it; who only acknowledges whatever is offered never does.
 */
const LOG_DEADLINE = 10_000;
const NO_LOG_DEADLINE = 300;
/** Milliseconds until a watch that the system has refused is asked for again. */
const WATCH_AGAIN = 1000;
const NEVER = Number.POSITIVE_INFINITY;

/** Why it ended when the front-end wished it: a guest that was switched off, or who did not get what it asked for. */
export const LEFT = 'the front-end closed the connection';

/** More of what a VM's front-ends passed is still being closed than may be. */
export function closesTooMany(native: Native, vm: number): boolean {
  return native.closing(vm) > MAX_CLOSING;
}

/** What is counted for the VM: names of EVENTS (counters.ts). */
export type SessionEvent =
  | 'messages'
  | 'nacks'
  | 'malformedMessages'
  | 'unknownMessages'
  | 'messageTimeouts'
  | 'slowClients'
  | 'memoryFaults'
  | 'costlySignals';

/** What a session needs of the base. */
export interface SessionHost {
  /** Number of the VM. */
  readonly vm: number;
  /** Of the worker's time, for requests. */
  readonly allowance: Allowance;
  count(event: SessionEvent): void;
  /** A request was refused, for a reason in words. */
  refusedRequest(reason: string): void;
  /** Rings, features or memory changed: look at the port again. */
  changed(session: Session): void;
  /** A ring of this session started: datagrams go through it from now on. */
  prefer(session: Session): void;
  /** The guest asked to look at its rings. */
  kicked(session: Session): void;
  /** Tell the LAN where the VM is now. */
  announce(session: Session, mac: Uint8Array): void;
  /** A ring of this port stopped working: `ring.queue.broken` says why. */
  ringBroke(ring: Ring): void;
  /** Everything is released; `reason` for people. */
  closed(session: Session, reason: string): void;
  log(level: 'debug' | 'info' | 'warn', message: string, fields?: Record<string, unknown>): void;
  now(): number;
  /** A timer was set to that time: `Session.tick` is to be called by then. */
  due(time: number): void;
}

export class Session {
  readonly native: Native;
  readonly host: SessionHost;
  readonly framing: Framing;
  readonly attachment: Attachment;
  readonly repeated = new RepeatedRegions();
  /** Device features on offer. */
  readonly offered: Bits;
  /** Acknowledged protocol features. */
  protocolFeatures: Bits = { low: 0, high: 0 };
  closed = false;
  readonly peer: { pid: number; uid: number };

  private readonly fd: number;
  private readonly watcher: Watcher;
  private readonly replies: Replies;
  /** The peer is watched for room for replies, too. */
  private watchesRoom = false;
  private deadline: number;
  private heard = false;
  /** When rings that wait for their log do no longer. */
  private logDeadline = NEVER;
  /** When it is listened to again, its VM's allowance being used up; NEVER: it is listened to. */
  private listenAt = NEVER;
  /** Until when descriptors that it passed are to be closed; NEVER: there are not too many. */
  private closingDeadline = NEVER;

  /** Takes ownership of the connected socket `fd`. */
  constructor(native: Native, watcher: Watcher, host: SessionHost, fd: number, offered: Bits) {
    this.native = native;
    this.watcher = watcher;
    this.host = host;
    this.fd = fd;
    this.offered = offered;
    this.framing = new Framing(native, host.vm);
    this.replies = new Replies(native, fd);
    this.attachment = new Attachment(native);
    const { pid, uid } = native.peerCredentials(fd);
    this.peer = { pid, uid };
    const now = host.now();
    this.deadline = now + OWNER_DEADLINE;
    // Last: if it throws, the descriptor is still the caller's.
    watcher.watch(fd, EPOLLIN, false, (events) => this.ready(events));
    // Connecting anew renews no allowance.
    this.listenIn(host.allowance.spend(now, 0), now);
  }

  /** The first ring is about to start, and may have to wait for its log: not for ever, as some acknowledge LOG_ALL and never share one. */
  firstStarts(): void {
    this.attachment.firstStarts();
    if (!this.attachment.awaitsLog) return;
    const logged = this.attachment.rings.some(({ address }) => address?.logged);
    this.logDeadline = this.host.now() + (logged ? LOG_DEADLINE : NO_LOG_DEADLINE);
    this.host.due(this.logDeadline);
  }

  /** Closes when the peer left a message unfinished or never spoke. Milliseconds until it is to be called again, at the latest. */
  tick(now: number): number {
    // What came in time and could not be looked at in time, as we stood still (SIGSTOP, a debugger, no processor), counts.
    if (!this.closed && now >= Math.min(this.deadline, this.logDeadline)) this.look(true);
    if (now >= this.logDeadline) this.giveUpLog();
    if (!this.closed && now >= this.listenAt) this.listen(now);
    if (this.closed || now < this.deadline) return Math.min(this.logDeadline, this.listenAt) - now;
    this.host.count('messageTimeouts');
    this.close(
      this.heard
        ? 'a message stayed incomplete for two seconds'
        : 'the front-end did not speak for ten seconds',
    );
    return NEVER;
  }

  private giveUpLog(): void {
    this.logDeadline = NEVER;
    const { attachment } = this;
    if (this.closed || !attachment.awaitsLog) return;
    attachment.awaitsLog = false;
    this.host.log(
      'warn',
      'LOG_ALL was acknowledged and no log was shared: what is written is not logged',
    );
    attachment.refresh();
    this.host.changed(this);
  }

  /** Serves what has come and was not told yet; that the peer has gone, too. Within the round that others may have used, unless `extra`. */
  look(extra = false): void {
    this.ready(EPOLLIN, extra ? this.host.now() + ROUND : undefined);
  }

  private ready(events: number, end?: number): void {
    try {
      if (events & EPOLLOUT) this.replied(this.replies.flush());
      if (!this.closed && events & ~EPOLLOUT) this.serve(end);
    } catch (error) {
      // The system refused us something (descriptors, watches, memory): this connection's trouble, nobody else's.
      this.close(`a request could not be served: ${(error as Error).message}`);
    }
  }

  /**
   * Serves what has come, at most a round of it: the rest is still readable and comes in the next round. `end`: milliseconds of the clock when the round
   * ends, which is otherwise the same for all sessions.
   */
  private serve(end?: number): void {
    const { allowance } = this.host;
    const start = this.host.now();
    const last = end ?? allowance.roundEnd(this.watcher.looks, start);
    if (start >= last) return;
    const { native } = this;
    native.readWorked();
    const before = native.worked[0];
    try {
      this.serveRound(last);
    } finally {
      // Its end is paid for, too: who connects anew for each few requests has no other allowance.
      const now = this.host.now();
      native.readWorked();
      const wait = allowance.spend(
        now,
        Math.max(native.worked[0] - before, Math.min(MOST_ASLEEP, now - start)),
      );
      if (!this.closed) this.listenIn(wait, now);
    }
  }

  /** Nobody listens to it just now, its VM's allowance being used up. */
  get waits(): boolean {
    return this.listenAt !== NEVER;
  }

  /** Looks away from the peer for `wait` milliseconds, or longer where it has to wait for something else, too. */
  private listenIn(wait: number, now: number): void {
    if (wait === 0) return;
    if (this.listenAt === NEVER) this.watcher.pause(this.fd);
    else if (this.listenAt >= now + wait) return;
    this.listenAt = now + wait;
    this.host.due(this.listenAt);
  }

  /** Its VM has been kept waiting long enough. */
  private listen(now: number): void {
    if (this.closesTooMany) {
      if (now >= this.closingDeadline)
        this.close('descriptors that it passed take too long to close');
      else this.listenAt = now + CLOSING_LOOK;
      return;
    }
    this.closingDeadline = NEVER;
    try {
      this.watcher.resume(this.fd, this.watchedFor);
      this.listenAt = NEVER;
    } catch {
      // No memory, or all watches that a user may have are taken.
      this.listenAt = now + WATCH_AGAIN;
    }
  }

  private get closesTooMany(): boolean {
    return closesTooMany(this.native, this.host.vm);
  }

  private get watchedFor(): number {
    return this.watchesRoom ? EPOLLIN | EPOLLOUT : EPOLLIN;
  }

  private rewatch(): void {
    this.watchesRoom = this.replies.wait;
    if (this.listenAt === NEVER) this.watcher.change(this.fd, this.watchedFor);
  }

  private serveRound(end: number): void {
    for (let served = 0; served < MESSAGES_PER_ROUND && !this.closed; served++) {
      if (this.closingDeadline !== NEVER) return;
      if (served > 0 && this.host.now() >= end) return;
      const outcome = this.framing.read(this.fd);
      switch (outcome) {
        case MESSAGE:
          this.heard = true;
          this.deadline = NEVER;
          this.host.count('messages');
          this.dispatch();
          break;
        case NOTHING:
          if (this.framing.partial) {
            this.heard = true;
            if (this.deadline === NEVER) this.deadline = this.host.now() + MESSAGE_DEADLINE;
          }
          return;
        case MALFORMED:
          this.host.count('malformedMessages');
          this.close(this.framing.fault);
          return;
        case ENDED:
          this.close(LEFT);
          return;
      }
    }
  }

  /** Checks one whole message against the table and lets its handler serve it. */
  private dispatch(): void {
    const { framing } = this;
    const { request, descriptors } = framing;
    const message = MESSAGES.get(request);
    const passed = descriptors.length;
    const acknowledges = has(this.protocolFeatures, PROTOCOL_FEATURE.REPLY_ACK);
    let reply: Uint8Array | undefined;
    let refusal = '';
    try {
      if (message === undefined) {
        this.host.count('unknownMessages');
        throw new Refused(`request ${request} is unknown`);
      }
      if (message.size >= 0 && framing.size !== message.size) {
        // The length is part of the framing: whoever gets it wrong means another message.
        this.host.count('malformedMessages');
        this.close(
          `${message.name} with ${framing.size} bytes of payload instead of ${message.size}`,
        );
        return;
      }
      if (message.needs >= 0 && !has(this.protocolFeatures, message.needs)) {
        throw new Refused('its protocol feature was not acknowledged');
      }
      if (
        descriptors.length < message.descriptors[0] ||
        descriptors.length > message.descriptors[1]
      ) {
        throw new Refused(`${descriptors.length} descriptors came along`);
      }
      reply = message.handler(this, framing.payload, descriptors);
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      refusal = message === undefined ? error.message : `${message.name}: ${error.message}`;
    } finally {
      framing.closeDescriptors();
    }
    if (this.closed) return;
    // The SET_PROTOCOL_FEATURES that brings REPLY_ACK is acknowledged itself: rust-vmm's front-end waits for that.
    const wantsAck =
      (framing.flags & NEED_REPLY) !== 0 &&
      (acknowledges || has(this.protocolFeatures, PROTOCOL_FEATURE.REPLY_ACK));
    if (passed > 0 && this.closesTooMany) {
      const now = this.host.now();
      this.closingDeadline = now + CLOSING_DEADLINE;
      this.listenIn(CLOSING_LOOK, now);
    }
    if (refusal !== '') {
      this.host.count('nacks');
      this.host.refusedRequest(refusal);
      if (message?.replies) {
        // It waits for an answer of its own shape that does not exist.
        this.close(`a request can't be answered: ${refusal}`);
        return;
      }
      if (wantsAck) this.send(request, u64Reply(1));
      return;
    }
    if (reply !== undefined) this.send(request, reply);
    else if (wantsAck) this.send(request, u64Reply(0));
  }

  private send(request: number, payload: Uint8Array): void {
    this.replied(this.replies.add(replyBytes(request, payload)));
  }

  /** After each attempt to send: what became of it, as `Replies` says. */
  private replied(outcome: number): void {
    if (outcome === TOO_MANY) {
      this.host.count('slowClients');
      this.close('the front-end does not read its replies');
    } else if (outcome === FAILED) this.close('a reply could not be sent');
    else if (this.replies.wait !== this.watchesRoom) this.rewatch();
  }

  /** Tells the base when the guest kicks this ring. */
  watchKick(ring: Ring): void {
    this.watcher.watch(ring.kickFd, EPOLLIN, true, () => this.host.kicked(this));
  }

  /** Closes one of a ring's descriptors, if it has one. */
  dropDescriptor(ring: Ring, which: 'kickFd' | 'callFd' | 'errFd'): void {
    const fd = ring[which];
    if (fd < 0) return;
    ring[which] = -1;
    if (which === 'kickFd') this.watcher.unwatch(fd);
    this.native.closePassed(fd, this.host.vm);
  }

  /** Ends the connection and releases everything it brought. */
  close(reason: string): void {
    if (this.closed) return;
    this.closed = true;
    this.framing.closeDescriptors();
    for (const ring of this.attachment.rings) {
      ring.started = false;
      ring.queue.stop();
      this.dropDescriptor(ring, 'kickFd');
      this.dropDescriptor(ring, 'callFd');
      this.dropDescriptor(ring, 'errFd');
    }
    this.attachment.refresh();
    this.attachment.memory.clear();
    this.attachment.log?.close();
    this.attachment.log = null;
    this.watcher.unwatch(this.fd);
    this.native.closeConnection(this.fd, this.host.vm);
    this.host.closed(this, reason);
  }
}
