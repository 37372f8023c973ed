/**
 * The way that single datagrams took, for people: which buffer, where in base storage, which decision, which ring. A turn asks
 * for it only while somebody waits for a trace; nothing of it is on the hot path otherwise.
 */
import type { Adapter } from '../adapter/adapter.ts';
import { CELLS } from '../counters.ts';
import type { Port } from '../port/port.ts';
import { ARP, IPV4 } from '../routing/ether-types.ts';
import {
  AT_ADAPTERS,
  BROADCAST,
  BROADCAST_HERE,
  cellOf,
  CONSUMED,
  HELD,
  IN_PIECES,
  isDrop,
} from '../routing/verdict.ts';
import { type BaseStorage, HEADER_BYTES } from '../storage/base-storage.ts';
import type { Copied, CopyList } from '../storage/copy-list.ts';
import { TAG_BYTES } from '../routing/priority-tag.ts';
import * as ethernet from '../wire/ethernet.ts';
import { dotted } from '../wire/ipv4-address.ts';
import * as ipv4 from '../wire/ipv4.ts';
import { macText } from '../wire/mac.ts';

const PROTOCOLS: Record<number, string> = {
  [ipv4.PROTOCOL_ICMP]: 'ICMP',
  [ipv4.PROTOCOL_TCP]: 'TCP',
  [ipv4.PROTOCOL_UDP]: 'UDP',
};

/** One end of a traced datagram's way. */
export interface TracedPlace {
  /** VM or adapter name, or "base". */
  port: string;
  kind: string;
  /** Virtqueue index, where there is one. */
  ring: number | null;
  /** Guest-physical address of the buffer, or the offset in the adapter's ring. */
  address: string | null;
  /** Bytes copied there or from there, virtio-net header included. */
  bytes: number | null;
}

/** The way that one datagram took. */
export interface TracedDatagram {
  from: TracedPlace;
  storage: { slot: number; offset: number; bytes: number };
  /** As it leaves: routing has given it its MAC addresses. */
  datagram: {
    kind: string;
    sourceMac: string;
    destinationMac: string;
    source?: string;
    destination?: string;
    bytes?: number;
    timeToLive?: number;
  };
  decision: string;
  /** Null when it was not put anywhere. */
  to: TracedPlace | null;
}

interface Wish {
  id: number;
  vm: number;
  left: number;
  found: TracedDatagram[];
}

export class Tracer {
  private readonly wishes: Wish[] = [];
  private readonly storage: BaseStorage;
  private readonly copies: CopyList;
  private readonly ports: Port[];
  private readonly adapters: Adapter[];
  private readonly done: (id: number, datagrams: TracedDatagram[]) => void;
  /** Slot → what is known of it so far, this turn. */
  private readonly open = new Map<number, TracedDatagram>();

  constructor(
    storage: BaseStorage,
    copies: CopyList,
    ports: Port[],
    adapters: Adapter[],
    done: (id: number, datagrams: TracedDatagram[]) => void,
  ) {
    this.storage = storage;
    this.copies = copies;
    this.ports = ports;
    this.adapters = adapters;
    this.done = done;
  }

  /** Somebody wants the next `count` datagrams that this VM sends or gets. */
  want(id: number, vm: number, count: number): void {
    this.wishes.push({ id, vm, left: count, found: [] });
  }

  /** Nobody waits for it any more: what there is, is told. */
  end(id: number): void {
    const index = this.wishes.findIndex((wish) => wish.id === id);
    if (index < 0) return;
    const [wish] = this.wishes.splice(index, 1);
    this.done(id, wish.found);
  }

  get wanted(): boolean {
    return this.wishes.length > 0;
  }

  /** After routing, before delivery: slots [0, gathered) came from somewhere, with rows [0, rows) of the copy list. */
  routed(gathered: number, rows: number): void {
    const { storage } = this;
    this.open.clear();
    for (let slot = 0; slot < storage.count; slot++) {
      const from = storage.from[slot];
      const to = storage.to[slot];
      if (!this.wishes.some(({ vm }) => vm === from || vm === to)) continue;
      const at = storage.at[slot];
      this.open.set(slot, {
        from:
          slot < gathered && from >= 0
            ? this.place(from, 'output', this.copied(slot, rows))
            : this.origin(from),
        storage: { slot, offset: at, bytes: storage.length[slot] },
        datagram: this.describe(at, storage.length[slot]),
        decision: this.decision(to),
        to: null,
      });
    }
  }

  /** After delivery, whose rows are [0, rows): what was put somewhere is told where. */
  delivered(rows: number): void {
    for (const [slot, traced] of this.open) {
      const to = this.storage.to[slot];
      if (to >= 0) traced.to = this.place(to, 'input', this.copied(slot, rows));
      const from = this.storage.from[slot];
      for (const wish of this.wishes) {
        if (wish.left > 0 && (wish.vm === from || wish.vm === to)) {
          wish.left--;
          wish.found.push(traced);
        }
      }
    }
    for (const wish of this.wishes.filter(({ left }) => left === 0)) this.end(wish.id);
  }

  /** What of this slot the rows [0, rows) copy, null when that was carried out earlier. What is coupled leaves without its headers. */
  private copied(slot: number, rows: number): Copied | null {
    const start = this.storage.at[slot] - HEADER_BYTES;
    const end = start + HEADER_BYTES + this.storage.length[slot];
    // Behind a priority tag the datagram begins later than it was put there.
    return this.copies.within(start, end, rows) ?? this.copies.within(start - TAG_BYTES, end, rows);
  }

  private origin(from: number): TracedPlace {
    if (from < 0)
      return { port: 'base', kind: 'the base itself', ring: null, address: null, bytes: null };
    return { ...this.place(from, 'output', null), kind: 'waited for its neighbour or for buffers' };
  }

  private place(number: number, direction: 'output' | 'input', copy: Copied | null): TracedPlace {
    const bytes = copy?.length ?? null;
    const offset = copy?.offset ?? 0;
    if (number >= this.ports.length) {
      return {
        port: this.adapters[number - this.ports.length].plan.name,
        kind: direction === 'output' ? 'adapter’s receive ring' : 'adapter’s transmit ring',
        ring: null,
        address: copy === null ? null : `ring + 0x${offset.toString(16)}`,
        bytes,
      };
    }
    const port = this.ports[number];
    if (port.remote) {
      const kind = `the ring ${direction === 'output' ? 'from' : 'to'} its turn worker`;
      return { port: port.vm.name, kind, ring: null, address: null, bytes };
    }
    const rings = direction === 'output' ? port.current?.outputs : port.current?.inputs;
    const region = port.current?.memory.regions.find(({ handle }) => handle === copy?.region);
    return {
      port: port.vm.name,
      kind: direction === 'output' ? 'output buffer' : 'input buffer',
      ring: rings?.length === 1 ? rings[0].index : null,
      address: region === undefined ? null : `0x${(region.guest + offset).toString(16)}`,
      bytes,
    };
  }

  private decision(to: number): string {
    if (to >= this.ports.length)
      return `to adapter ${this.adapters[to - this.ports.length].plan.name}`;
    if (to >= 0) return `to VM ${this.ports[to].vm.name}`;
    if (to === IN_PIECES) return 'cut: goes on in pieces';
    if (to === CONSUMED) return 'answered or taken by the base';
    if (to === HELD) return 'waits for a neighbour’s address';
    if (to === BROADCAST) return 'to every VM of the network';
    if (to === BROADCAST_HERE) return 'to every VM of the network that is this worker’s';
    if (to === AT_ADAPTERS) return 'to the turn worker of the adapters, which decides';
    return isDrop(to) ? `dropped: ${CELLS[cellOf(to)]}` : 'undecided';
  }

  private describe(at: number, length: number): TracedDatagram['datagram'] {
    const { bytes, halves } = this.storage;
    const type = halves[(at + ethernet.ETHER_TYPE) >> 1];
    const macs = {
      sourceMac: macText(bytes, at + ethernet.SOURCE),
      destinationMac: macText(bytes, at + ethernet.DESTINATION),
    };
    const ip = at + ethernet.HEADER_BYTES;
    if (type !== IPV4 || length < ethernet.HEADER_BYTES + ipv4.MIN_HEADER_BYTES)
      return { kind: type === ARP ? 'ARP' : 'other', ...macs };
    const protocol = ipv4.protocol(bytes, ip);
    return {
      kind: PROTOCOLS[protocol] ?? `IP protocol ${protocol}`,
      ...macs,
      source: dotted(ipv4.source(bytes, ip)),
      destination: dotted(ipv4.destination(bytes, ip)),
      bytes: length - ethernet.HEADER_BYTES,
      timeToLive: ipv4.timeToLive(bytes, ip),
    };
  }
}
