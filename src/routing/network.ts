/**
 * One IP subnet of the base: its addresses, who is on it, and where the rest of the world is.
 */
import type { NetworkPlan } from '../plan.ts';
import type { Port } from '../port/port.ts';
import { broadcastOf, contains, keyOf, parsePrefix, type Prefix } from '../wire/ipv4-address.ts';
import { parseMac } from '../wire/mac.ts';
import { AddressList } from './address-list.ts';
import type { WayOut } from './way-out.ts';

export class Network {
  readonly plan: NetworkPlan;
  /** Which VM port owns which address; the base's own is not in it. */
  readonly addresses = new AddressList();
  /** Prefixes behind VMs, longest first; and what `behind` needs of them, in columns: it is asked for each datagram that leaves the subnet. */
  private readonly prefixes: { prefix: Prefix; port: number }[] = [];
  private prefixKeys = new Int32Array(0);
  private prefixMasks = new Int32Array(0);
  private prefixPorts = new Int32Array(0);
  readonly ports: Port[] = [];
  readonly subnet: Prefix;
  readonly broadcast: number;
  /** The base's own address. */
  readonly address: number;
  readonly mac: Uint8Array;
  /** The base's MAC as it stands in a frame's source: first four bytes, last two. */
  readonly macWord: number;
  readonly macHalf: number;
  readonly mtu: number;
  adapter: WayOut | null = null;
  /** Where what is outside the subnet goes: a key on the adapter's side; 0: nowhere. */
  nextHop = 0;

  constructor(plan: NetworkPlan) {
    this.plan = plan;
    this.subnet = parsePrefix(`${plan.subnet}/${plan.prefix}`);
    this.broadcast = broadcastOf(this.subnet);
    this.address = keyOf(plan.address);
    this.mac = parseMac(plan.mac);
    const view = new DataView(this.mac.buffer, this.mac.byteOffset);
    this.macWord = view.getInt32(0, true);
    this.macHalf = view.getUint16(4, true);
    this.mtu = plan.mtu;
  }

  /** Enters a VM's port with all its addresses. */
  enter(port: Port): void {
    this.ports.push(port);
    for (const address of port.vm.addresses) this.addresses.set(keyOf(address), port.number);
    for (const prefix of port.vm.prefixes) {
      this.prefixes.push({ prefix: parsePrefix(prefix), port: port.number });
    }
    this.prefixes.sort((a, b) => b.prefix.bits - a.prefix.bits);
    this.prefixKeys = Int32Array.from(this.prefixes, ({ prefix }) => prefix.key);
    this.prefixMasks = Int32Array.from(this.prefixes, ({ prefix }) => prefix.mask);
    this.prefixPorts = Int32Array.from(this.prefixes, ({ port }) => port);
  }

  /** Whether any VM has prefixes behind it. */
  get hasPrefixes(): boolean {
    return this.prefixes.length > 0;
  }

  /** The port behind which a prefix with this address (a key) lies, or -1. */
  behind(key: number): number {
    const { prefixKeys: keys, prefixMasks: masks, prefixPorts: ports } = this;
    for (let index = 0; index < keys.length; index++)
      if ((key & masks[index]) === keys[index]) return ports[index];
    return -1;
  }

  /** True for every address of the subnet (a key), its own and its broadcast address among them. */
  isInside(key: number): boolean {
    return contains(this.subnet, key);
  }
}
