/** What the entries of handed-over datagrams said, by slot of base storage, until they are routed. */
import { AT_ADAPTERS, BROADCAST_HERE } from './verdict.ts';
import { HEADER_BYTES as ETHERNET_HEADER_BYTES } from '../wire/ethernet.ts';

export class HandedColumns {
  readonly from: Int32Array;
  readonly to: Int32Array;
  private readonly vms: number;
  private readonly ports: number;
  private readonly local: (vm: number) => boolean;
  private readonly hasAdapters: boolean;

  /**
   * `vms`, `ports`: how many VMs there are, and VMs and adapters; `local`: whether a VM is this worker's; `hasAdapters`: whether the
   * adapters are.
   */
  constructor(
    slots: number,
    vms: number,
    ports: number,
    local: (vm: number) => boolean,
    hasAdapters: boolean,
  ) {
    this.from = new Int32Array(slots);
    this.to = new Int32Array(slots);
    this.vms = vms;
    this.ports = ports;
    this.local = local;
    this.hasAdapters = hasAdapters;
  }

  /** Whether an entry can be true: the ports exist, the receiver is ours, the frame has an Ethernet header. */
  possible(from: number, to: number, length: number): boolean {
    if (length < ETHERNET_HEADER_BYTES || from < -1 || from >= this.ports) return false;
    // What the base says to a host on the LAN about a datagram that another worker's VM can't take.
    if (to >= this.vms) return from === -1 && to < this.ports && this.hasAdapters;
    if (to >= 0) return this.local(to);
    if (from < 0 || from >= this.vms) return false;
    return to === BROADCAST_HERE || (to === AT_ADAPTERS && this.hasAdapters);
  }
}
