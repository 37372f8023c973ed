/** What the entries of handed-over datagrams said, by slot of base storage, until they are routed. */
import { AT_OWNER, BROADCAST_HERE } from '../routing/verdict.ts';

const SHORTEST = 14;

export class Columns {
  readonly from: Int32Array;
  readonly to: Int32Array;
  private readonly vms: number;
  private readonly ports: number;
  private readonly local: (port: number) => boolean;

  /** `vms`, `ports`: how many VMs there are, and VMs and adapters; `local`: whether a port is this worker's. */
  constructor(slots: number, vms: number, ports: number, local: (port: number) => boolean) {
    this.from = new Int32Array(slots);
    this.to = new Int32Array(slots);
    this.vms = vms;
    this.ports = ports;
    this.local = local;
  }

  /** Whether an entry can be true: the ports exist, the receiver is ours, the frame has an Ethernet header. */
  possible(from: number, to: number, length: number): boolean {
    if (length < SHORTEST || from < -1 || from >= this.ports) return false;
    if (to >= 0) return to < this.ports && this.local(to);
    return (to === AT_OWNER || to === BROADCAST_HERE) && from >= 0 && from < this.vms;
  }
}
