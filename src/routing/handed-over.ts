/**
 * What another turn worker handed over. Its worker has looked at where it comes from and found who gets it; here is decided what only the
 * receiver's worker can know: whether the VM is there, its MAC, which offloads it takes, and for the owner of the adapters the way out.
 */
import { BASE } from '../storage/outbox.ts';
import type { RoutingContext } from './context.ts';
import type { Elsewhere } from './elsewhere.ts';
import type { HandedColumns } from './handed-columns.ts';
import { NOBODY } from './address-list.ts';
import { isCanonical } from './offload-received.ts';
import { HEADER_BYTES as ETHERNET_HEADER_BYTES } from '../wire/ethernet.ts';
import { checkWords, DESTINATION } from '../wire/ipv4.ts';
import * as mac from '../wire/mac.ts';
import { AT_ADAPTERS, BROADCAST_HERE, drop, HELD } from './verdict.ts';
import type { WayOut } from './way-out.ts';

const IP = ETHERNET_HEADER_BYTES;

const BAD_OFFLOAD = drop('badChecksumOffload');
const BAD_IP = drop('badIp');
const NO_ROUTE = drop('noRoute');

export class HandedOver {
  private readonly context: RoutingContext;
  private readonly columns: HandedColumns;
  private readonly elsewhere: Elsewhere;

  constructor(context: RoutingContext, columns: HandedColumns, elsewhere: Elsewhere) {
    this.context = context;
    this.columns = columns;
    this.elsewhere = elsewhere;
  }

  /** Gives the slot its true origin, and returns the verdict. */
  route(slot: number): number {
    const { storage, ports, adapters, networks } = this.context;
    const from = this.columns.from[slot];
    const to = this.columns.to[slot];
    storage.from[slot] = from;
    // Its worker made it so; but a worker that failed may have left anything.
    const believed = isCanonical(storage, slot);
    // A copy of a broadcast is in nobody's books: what can't be believed goes nowhere, and nothing is counted.
    if (to === BROADCAST_HERE) return believed ? BROADCAST_HERE : HELD;
    if (!believed) return BAD_OFFLOAD;
    const { at, bytes, halves, words, length } = storage;
    if (from !== BASE && !checkWords(words, (at[slot] + IP) >> 2, length[slot] - IP)) return BAD_IP;
    if (to === AT_ADAPTERS) {
      const port = ports[from];
      return this.elsewhere.fromVm(slot, port, networks[port.network], NOBODY);
    }
    if (to >= ports.length) return this.toLan(slot, adapters[to - ports.length]);
    const target = ports[to];
    if (from !== BASE) {
      const network = networks[target.network];
      // A learned MAC is not known to its worker, which has addressed it to everybody; no error may be said about such a frame.
      mac.copy(bytes, at[slot], network.mac, 0);
      // It has held it to the network's MTU, and can't know the VM's own.
      return this.elsewhere.toVm(slot, target, network, false);
    }
    // What the base says is finished but for the MAC and the driver's MTU, which another worker does not know.
    halves[at[slot] >> 1] = target.macFirstHalf;
    words[(at[slot] + 2) >> 2] = target.macLastWord;
    return this.elsewhere.saidElsewhere(slot, target, networks[target.network]);
  }

  /** An ICMP error about a datagram that came from there: finished but for both MACs. */
  private toLan(slot: number, adapter: WayOut): number {
    const { storage, networks } = this.context;
    const network = networks[adapter.plan.network];
    const destination = storage.words[(storage.at[slot] + IP + DESTINATION) >> 2];
    const nextHop = network.isInside(destination) ? destination : network.nextHop;
    if (nextHop === 0) return NO_ROUTE;
    return adapter.resolve(slot, nextHop);
  }
}
