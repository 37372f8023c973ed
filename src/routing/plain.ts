/**
 * The common case of routing: a datagram without options or offload, from its port's own MAC and one of its addresses, to an address of
 * another VM of the network. The same checks as `Router.fromVm`, which gets whatever is not that.
 *
 * One loop without a call or another loop in it, inside a function that is made once: why, says `port/plain.ts`.
 */
import type { Port } from '../port/port.ts';
import type { BaseStorage } from '../storage/base-storage.ts';
import type { Network } from './network.ts';
import { UNDECIDED } from './verdict.ts';

// A module's own constants cost V8 nothing, imported ones a load and a check per use.
const NOT_DECIDED = UNDECIDED;
/** EtherType, and first byte of an IP header without options, as a little-endian machine reads them. */
const IPV4 = 0x0008;
const NO_OPTIONS = 0x45;
const IP = 14;
const SHORTEST = 20;

/**
 * Decides for slots [first, end), all from `port` (connected, 12-byte virtio-net headers, MAC known) of `network`. What is not
 * plain becomes UNDECIDED; returns how many that are.
 */
export type RoutePlain = (first: number, end: number, port: Port, network: Network) => number;

/** Makes the `RoutePlain` of this storage; once, see above. */
export function plainRoute(storage: BaseStorage, ports: readonly Port[]): RoutePlain {
  const { halves, words, at: ats, length: lengths, to } = storage;
  return function routePlain(first, end, port, network) {
    // As integers once, or each is unwrapped for each datagram.
    const macWord = port.macWord | 0;
    const macHalf = port.macHalf | 0;
    const address = port.address | 0;
    const number = port.number | 0;
    const { addresses } = network;
    const { keys, owners } = addresses;
    const mask = addresses.mask | 0;
    const seed = addresses.seed | 0;
    const baseWord = network.macWord | 0;
    const baseHalf = network.macHalf | 0;
    const mtu = network.mtu | 0;
    let left = 0;
    for (let slot = first; slot < end; slot++) {
      const at = ats[slot];
      const ip = (at + IP) >> 2;
      const a = words[ip];
      const source = words[ip + 3];
      const destination = words[ip + 4];
      to[slot] = NOT_DECIDED;
      left++;
      if (words[(at + 6) >> 2] !== macWord || halves[(at + 10) >> 1] !== macHalf) continue;
      if (halves[(at + 12) >> 1] !== IPV4 || (a & 0xff) !== NO_OPTIONS) continue;
      if (source !== address) {
        // As below: may be another address of the VM's.
        let hash = Math.imul(source ^ seed, 0x9e3779b1);
        hash = Math.imul(hash ^ (hash >>> 15), 0x85ebca6b);
        let place = (hash ^ (hash >>> 13)) & mask;
        if (keys[place] !== source) place = (place + 1) & mask;
        if (keys[place] !== source) place = (place + 1) & mask;
        if (keys[place] !== source || owners[place] !== number) continue;
      }
      const total = ((a >>> 8) & 0xff00) | (a >>> 24);
      if (total < SHORTEST || total > lengths[slot] - IP || total > mtu) continue;
      const b = words[ip + 1];
      const c = words[ip + 2];
      let sum =
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
      sum = (sum & 0xffff) + (sum >>> 16);
      if ((sum & 0xffff) + (sum >>> 16) !== 0xffff) continue;
      if (halves[(at - 12) >> 1] !== 0) continue;
      // As AddressList.find does, but no further than three places: a loop in here would cost every datagram (see above).
      let hash = Math.imul(destination ^ seed, 0x9e3779b1);
      hash = Math.imul(hash ^ (hash >>> 15), 0x85ebca6b);
      let place = (hash ^ (hash >>> 13)) & mask;
      if (keys[place] !== destination) place = (place + 1) & mask;
      if (keys[place] !== destination) place = (place + 1) & mask;
      if (keys[place] !== destination) continue;
      const owner = owners[place];
      if (owner < 0 || owner === number) continue;
      const target = ports[owner];
      if (target.current === null || !target.macKnown) continue;
      // No offload is asked for: its header is all zero.
      words[(at - 10) >> 2] = 0;
      words[(at - 6) >> 2] = 0;
      halves[(at - 2) >> 1] = 0;
      halves[at >> 1] = target.macFirstHalf;
      words[(at + 2) >> 2] = target.macLastWord;
      words[(at + 6) >> 2] = baseWord;
      halves[(at + 10) >> 1] = baseHalf;
      // What follows the datagram is padding: it is not passed on.
      lengths[slot] = IP + total;
      to[slot] = owner;
      left--;
    }
    return left;
  };
}
