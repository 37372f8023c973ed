/**
 * Which of a VM's queue pairs each flow goes to: the one on which the VM sends the flow's datagrams, since the processor that works on the flow waits there
 * (virtio 1.3 §5.1.6.5.6, "Automatic receive steering in multiqueue mode"); before the VM has sent any, one that addresses and ports
 * decide. A flow changes pairs only where nothing came for it for a while, so that what goes into two rings is not read in the wrong order.
 */
import { swap16 } from '../wire/bytes.ts';
import * as ethernet from '../wire/ethernet.ts';
import * as ipv4 from '../wire/ipv4.ts';

/** Flows that are remembered at most, in sets of four. What finds its set taken goes where addresses and ports say. */
const PLACES = 1024;
const SET = 4;
/** Shift: the upper 8 bits of a flow are the number of its set. */
const TO_SET = 24;

/** Milliseconds without a datagram after which a flow's place is free: as Linux's tun. */
const KEPT = 3000;
/** Milliseconds in which a driver has read what was put into its ring, also one that has to wait for its processor. */
const READ = 100;

/** Where they stand, behind a frame's first byte: the IP header's own, and the ports of TCP and UDP behind a header without options. */
const IP = ethernet.HEADER_BYTES;
const VERSION = IP + ipv4.VERSION_IHL;
/** Of the word that holds the fragment half, which is its upper one. */
const FRAGMENT = IP + ipv4.IDENTIFICATION;
const PROTOCOL = IP + ipv4.PROTOCOL;
const SOURCE = IP + ipv4.SOURCE;
const DESTINATION = IP + ipv4.DESTINATION;
const PORTS = IP + ipv4.MIN_HEADER_BYTES;
/** Header length without options, in words; and of the word at FRAGMENT, as a little-endian machine reads it, what no whole datagram has. */
const NO_OPTIONS = ipv4.MIN_HEADER_BYTES >> 2;
const ANY_FRAGMENT = swap16(0xffff & ~ipv4.DONT_FRAGMENT) << 16;
const { PROTOCOL_TCP, PROTOCOL_UDP } = ipv4;

/**
 * A number for the flow of the frame that begins at byte `at` of base storage (half a word behind a word), the same in both directions: of its
 * addresses and, unless it is a fragment or has IP options, the ports of TCP and UDP.
 */
export function flowOf(words: Int32Array, bytes: Uint8Array, at: number): number {
  let mix = words[(at + SOURCE) >> 2] ^ words[(at + DESTINATION) >> 2];
  const protocol = bytes[at + PROTOCOL];
  if (
    (protocol === PROTOCOL_TCP || protocol === PROTOCOL_UDP) &&
    (words[(at + FRAGMENT) >> 2] & ANY_FRAGMENT) === 0 &&
    (bytes[at + VERSION] & 0x0f) === NO_OPTIONS
  ) {
    const ports = words[(at + PORTS) >> 2];
    // Difference and sum of both: whoever sends, they are the same.
    const first = ports & 0xffff;
    const second = ports >>> 16;
    mix ^= ((first ^ second) << 16) | ((first + second) & 0xffff);
  }
  // As in AddressList: each bit depends on all of them.
  mix = Math.imul(mix ^ (mix >>> 16), 0x9e3779b1);
  mix = Math.imul(mix ^ (mix >>> 15), 0x85ebca6b);
  return mix ^ (mix >>> 13);
}

export class FlowPairs {
  private readonly flows = new Int32Array(PLACES);
  private readonly pairs = new Int8Array(PLACES);
  /** When something was last sent or came, and when something last came, in milliseconds. */
  private readonly used = new Float64Array(PLACES).fill(Number.NEGATIVE_INFINITY);
  private readonly came = new Float64Array(PLACES).fill(Number.NEGATIVE_INFINITY);
  /** By set, when something last came that found no place in it. */
  private readonly strayed = new Float64Array(PLACES / SET).fill(Number.NEGATIVE_INFINITY);

  /** The VM has sent a datagram of `flow` (`flowOf`) on this queue pair; `time[0]` is now, in milliseconds. */
  sent(flow: number, pair: number, time: Float64Array): void {
    const { came, pairs, strayed, used } = this;
    let place = this.find(flow);
    if (place < 0) {
      // It may be this flow whose datagrams lie unread where addresses and ports said.
      if (time[0] - strayed[flow >>> TO_SET] < READ) return;
      place = this.take(flow, pair, time);
      if (place < 0) return;
    }
    used[place] = time[0];
    if (time[0] - came[place] >= READ) pairs[place] = pair;
  }

  /** The queue pair for a datagram of `flow` that comes now, which is `time[0]`; `usual`: the one that addresses and ports say. */
  of(flow: number, usual: number, time: Float64Array): number {
    const { came, pairs, strayed, used } = this;
    let place = this.find(flow);
    if (place < 0) place = this.take(flow, usual, time);
    if (place < 0) {
      strayed[flow >>> TO_SET] = time[0];
      return usual;
    }
    used[place] = time[0];
    came[place] = time[0];
    return pairs[place];
  }

  /** The flow's place; -1: it has none. */
  private find(flow: number): number {
    const { flows } = this;
    const first = (flow >>> TO_SET) * SET;
    for (let place = first; place < first + SET; place++) if (flows[place] === flow) return place;
    return -1;
  }

  /** A place for the flow, with this pair in it; -1: others have all that it could have. */
  private take(flow: number, pair: number, time: Float64Array): number {
    const { came, flows, pairs, used } = this;
    const first = (flow >>> TO_SET) * SET;
    for (let place = first; place < first + SET; place++) {
      if (time[0] - used[place] < KEPT) continue;
      flows[place] = flow;
      pairs[place] = pair;
      came[place] = Number.NEGATIVE_INFINITY;
      return place;
    }
    return -1;
  }
}
