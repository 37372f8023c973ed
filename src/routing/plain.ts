/**
 * The common case of routing: a datagram without options or offload, from its port's own MAC and one of its addresses, to an address of
 * another VM of the network. The same checks as `Router.fromVm`, which gets whatever is not that.
 *
 * One loop without a call or another loop in it, inside a function that is made once: why, says `port/plain.ts`.
 */
import type { Port } from '../port/port.ts';
import { type BaseStorage, FRAME_OFFSET as ARENA_FRAME } from '../storage/base-storage.ts';
import { HEADER_BYTES as ETHERNET_HEADER_BYTES } from '../wire/ethernet.ts';
import { MIN_HEADER_BYTES } from '../wire/ipv4.ts';
import type { Network } from './network.ts';
import { NOBODY as ADDRESS_NOBODY } from './address-list.ts';
import { UNDECIDED } from './verdict.ts';

// A module's own constants cost V8 nothing, imported ones a load and a check per use.
const NOT_DECIDED = UNDECIDED;
const NOBODY = ADDRESS_NOBODY;
const FRAME_OFFSET = ARENA_FRAME;
/** EtherType as the upper half of a word, and first byte of an IP header without options, as a little-endian machine reads them. */
const IPV4 = 0x0008 << 16;
const NO_OPTIONS = 0x45;
const IP = ETHERNET_HEADER_BYTES;
const SHORTEST = MIN_HEADER_BYTES;

/**
 * Decides for slots [first, end), all from `port` (connected, 12-byte virtio-net headers, MAC known) of `network`. What is not
 * plain becomes UNDECIDED; returns how many that are.
 */
export type RoutePlain = (first: number, end: number, port: Port, network: Network) => number;

/** Makes the `RoutePlain` of this storage; once, see above. */
export function plainRoute(storage: BaseStorage, ports: readonly Port[]): RoutePlain {
  const { words, at: ats, length: lengths, to } = storage;
  const held = new Int32Array(11);
  return function routePlain(first, end, port, network) {
    const { table } = network.addresses;
    // Why through `held`, says `port/plain.ts`.
    held[0] = first;
    held[1] = end;
    held[2] = port.macWord;
    held[3] = port.macHalf | IPV4;
    held[4] = port.address;
    held[5] = port.number;
    held[6] = network.addresses.mask << 1;
    held[7] = network.addresses.seed;
    held[8] = network.macWord;
    held[9] = network.macHalf | IPV4;
    held[10] = network.mtu;
    const stop = held[1];
    const macWord = held[2];
    const macAndType = held[3];
    const address = held[4];
    const number = held[5];
    const last = held[6]; // of the table's even words
    const seed = held[7];
    const baseWord = held[8];
    const baseAndType = held[9];
    const mtu = held[10];
    // Datagrams come in runs: who owns the last destination (NOBODY: none was looked up), and its MAC as the header's words have it.
    let known = 0;
    let owner = NOBODY;
    let targetHalf = 0;
    let targetWord = 0;
    let decided = 0;
    for (let slot = held[0]; slot < stop; slot = (slot + 1) | 0) {
      // The slot's own words: two bytes nobody uses and the virtio-net header up to +14, the Ethernet header up to +28, the IP header.
      const word = (ats[slot] - FRAME_OFFSET) >> 2;
      to[slot] = NOT_DECIDED;
      if (words[word + 5] !== macWord || words[word + 6] !== macAndType) continue;
      const a = words[word + 7];
      const source = words[word + 10];
      const destination = words[word + 11];
      if ((a & 0xff) !== NO_OPTIONS) continue;
      if (source !== address) {
        // As below: may be another address of the VM's.
        let hash = Math.imul(source ^ seed, 0x9e3779b1);
        hash = Math.imul(hash ^ (hash >>> 15), 0x85ebca6b);
        let place = ((hash ^ (hash >>> 13)) << 1) & last;
        if (table[place] !== source) place = (place + 2) & last;
        if (table[place] !== source) place = (place + 2) & last;
        if (table[place] !== source || table[place | 1] !== number) continue;
      }
      const total = ((a >>> 8) & 0xff00) | (a >>> 24);
      if (total < SHORTEST || total > ((lengths[slot] - IP) | 0) || total > mtu) continue;
      const b = words[word + 8];
      const c = words[word + 9];
      const sum =
        (a & 0xffff) +
        (b & 0xffff) +
        (c & 0xffff) +
        (source & 0xffff) +
        (destination & 0xffff) +
        (a >>> 16) +
        (b >>> 16) +
        (c >>> 16) +
        (source >>> 16) +
        (destination >>> 16);
      const folded = ((sum & 0xffff) + (sum >>> 16)) | 0;
      if ((folded & 0xffff) + (folded >>> 16) !== 0xffff) continue;
      if (words[word] >>> 16 !== 0) continue;
      if (destination !== known || owner === NOBODY) {
        // As AddressList.find does, but no further than three places: a loop in here would cost every datagram (see above).
        let hash = Math.imul(destination ^ seed, 0x9e3779b1);
        hash = Math.imul(hash ^ (hash >>> 15), 0x85ebca6b);
        let place = ((hash ^ (hash >>> 13)) << 1) & last;
        if (table[place] !== destination) place = (place + 2) & last;
        if (table[place] !== destination) place = (place + 2) & last;
        if (table[place] !== destination) continue;
        const found = table[place | 1];
        if (found < 0 || found === number) continue;
        const target = ports[found];
        const { current } = target;
        if (current === null || target.macKnown === false || current.mtu < mtu) continue;
        known = destination;
        owner = found;
        targetHalf = target.macFirstHalf << 16;
        targetWord = target.macLastWord | 0;
      }
      // No offload is asked for: its header is all zero.
      words[word + 1] = 0;
      words[word + 2] = 0;
      words[word + 3] = targetHalf;
      words[word + 4] = targetWord;
      words[word + 5] = baseWord;
      words[word + 6] = baseAndType;
      // What follows the datagram is padding: it is not passed on.
      lengths[slot] = IP + total;
      to[slot] = owner;
      decided = (decided + 1) | 0;
    }
    return end - first - decided;
  };
}
