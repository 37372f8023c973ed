/**
 * A VM's place on its network: number, addresses, backlog, and the attachment that datagrams go through now. The
 * port stays when front-ends come and go.
 */
import type { VmPlan } from '../plan.ts';
import { RECORD_CELLS, type VmState } from '../counters.ts';
import { Attachment } from './attachment.ts';
import type { Native } from '../native.ts';
import type { Backlog } from './backlog.ts';

export class Port {
  readonly number: number;
  /** First cell of its counters. */
  readonly firstCell: number;
  readonly vm: VmPlan;
  /** Index of its network in the plan. */
  readonly network: number;
  /** Another turn worker owns it: nothing of it is here but its number and addresses. */
  readonly remote: boolean;
  /** Every front-end that is connected; usually one. */
  readonly attachments: Attachment[] = [];
  /** The one whose ring was started last; before any was, or where that one went, one whose rings run or the last one that came. */
  current: Attachment | null = null;
  /** Made when something has to wait for the first time. */
  backlog: Backlog | null = null;

  /** In the turn's list of ports that are looked at without being asked. */
  active = false;
  /** When it last had work, in milliseconds of the turn's clock. */
  lastWork = 0;
  /** It brings much, or how many turns running it brought all that it was allowed to: turn/shares.ts. */
  heavy = false;
  filledTimes = 0;
  /** Segments and fragments that the router has made of its datagrams since it last brought some. */
  made = 0;

  /** Key of its first address: whom the base asks for its MAC. */
  readonly address: number;
  macKnown = false;
  /** The MAC as it stands in a frame's source: first four bytes, last two. Matches nothing until it is known. */
  macWord = -1;
  macHalf = -1;
  /** The MAC as it stands in a frame's destination: first two bytes, last four. Before it is known: a guess, or everybody's. */
  macFirstHalf = 0xffff;
  macLastWord = -1;
  /** When the VM was last asked for its MAC. */
  macAsked = Number.NEGATIVE_INFINITY;

  /** Why a request was refused or a connection closed last, for people; '' since it runs. */
  lastError = '';

  constructor(number: number, vm: VmPlan, address: number, remote = false) {
    this.remote = remote;
    this.number = number;
    this.firstCell = number * RECORD_CELLS;
    this.vm = vm;
    this.network = vm.network;
    this.address = address;
  }

  /** For the status: what the current attachment makes of it. */
  get state(): VmState {
    if (this.current === null) return 'waiting';
    if (this.current.brokenRing) return 'broken';
    return this.current.runs ? 'running' : 'connected';
  }

  /** Takes six bytes at `at` as the VM's MAC address. */
  setMac(bytes: Uint8Array, at: number): void {
    this.macWord = bytes[at] | (bytes[at + 1] << 8) | (bytes[at + 2] << 16) | (bytes[at + 3] << 24);
    this.macHalf = bytes[at + 4] | (bytes[at + 5] << 8);
    this.hintMac(bytes, at);
    this.macKnown = true;
  }

  /** Takes six bytes at `at` as where frames for the VM are sent to until it has spoken. */
  hintMac(bytes: Uint8Array, at: number): void {
    this.macFirstHalf = bytes[at] | (bytes[at + 1] << 8);
    this.macLastWord =
      bytes[at + 2] | (bytes[at + 3] << 8) | (bytes[at + 4] << 16) | (bytes[at + 5] << 24);
  }

  /**
   * Makes it another worker's VM: one that takes every datagram as it is, since only its own worker knows whether there is a front-end and what it
   * takes. So the loops that route need not ask where a port is.
   */
  beRemote(native: Native): void {
    const attachment = new Attachment(native);
    attachment.guestCsum = true;
    attachment.guestTso4 = true;
    attachment.guestEcn = true;
    this.current = attachment;
    this.macKnown = true;
  }

  /** The MAC as text, or null. */
  get mac(): string | null {
    return this.macKnown ? this.probableMac : null;
  }

  /** Where frames for the VM are sent to, as text, a guess, too; null: to everybody. */
  get probableMac(): string | null {
    const { macFirstHalf: half, macLastWord: word } = this;
    if (this.remote || (half === 0xffff && word === -1)) return null;
    return [half, half >>> 8, word, word >>> 8, word >>> 16, word >>> 24]
      .map((byte) => (byte & 0xff).toString(16).padStart(2, '0'))
      .join(':');
  }

  /** Forgets a learned MAC: another front-end may bring another one. Frames go to the old one until then. */
  forgetMac(): void {
    this.macKnown = false;
    this.macWord = -1;
    this.macHalf = -1;
  }

  /** A front-end has connected. It becomes the current one only where no ring of another is started. */
  attach(attachment: Attachment): void {
    this.attachments.push(attachment);
    if (this.current === null || !this.current.started) this.current = attachment;
  }

  /** A ring of this attachment started: datagrams go through it from now on. */
  prefer(attachment: Attachment): void {
    this.current = attachment;
  }

  /** A front-end is gone. Another whose rings run takes its place, else the last one that came. */
  detach(attachment: Attachment): void {
    const index = this.attachments.indexOf(attachment);
    if (index >= 0) this.attachments.splice(index, 1);
    if (this.current === attachment) {
      this.current =
        this.attachments.find((other) => other.runs) ?? this.attachments.at(-1) ?? null;
    }
  }
}
