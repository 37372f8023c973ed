/**
 * What one front-end connection brings: negotiated features, shared memory, rings. The vhost-user session writes here between
 * turns; a turn reads. During a live migration a VM has two of them, and the one whose rings run is the port's current one.
 */
import type { Native } from '../native.ts';
import { MAX_PAIRS } from '../plan.ts';
import { FlowPairs } from './flow-pairs.ts';
import { type Bits, FEATURE, has } from '../virtio/features.ts';
import { GuestMemory } from '../virtio/guest-memory.ts';
import type { DirtyLog } from '../virtio/dirty-log.ts';
import { PackedQueue } from '../virtio/packed-queue.ts';
import { SplitQueue } from '../virtio/split-queue.ts';
import { Ring } from './ring.ts';

/** Longer than any datagram. */
const NO_MTU = 65_535;

export class Attachment {
  readonly memory: GuestMemory;
  readonly rings: Ring[] = [];
  /** Rings that a turn looks at: started output rings, started and enabled input rings. */
  outputs: Ring[] = [];
  inputs: Ring[] = [];
  /** Which queue pair each flow belongs to; null until there are several. */
  flows: FlowPairs | null = null;
  /** At least one usable, enabled input ring. */
  receives = false;
  log: DirtyLog | null = null;
  /** The front-end can share a log (LOG_SHMFD). */
  sharesLog = false;
  /** The log was shared before all rings were stopped: whoever starts them again shares another. */
  logIsOld = false;
  /** Rings were started that write what must be logged, and the log has still to come. */
  awaitsLog = false;

  private ringsStartEnabled = false;

  // negotiated
  features: Bits = { low: 0, high: 0 };
  headerBytes = 12;
  mergeable = false;
  /** Longest IP datagram that the driver takes (NET_SET_MTU); its network's may be shorter. */
  mtu = NO_MTU;
  /** The driver may ask us to complete checksums and to segment (it acknowledged CSUM, HOST_TSO). */
  csum = false;
  hostTso4 = false;
  hostEcn = false;
  /** The driver takes unfinished checksums and large segments. */
  guestCsum = false;
  guestTso4 = false;
  guestEcn = false;

  constructor(native: Native) {
    this.memory = new GuestMemory(native);
  }

  /** The ring of that index, made when first spoken of; undefined beyond what we have. */
  ring(index: number): Ring | undefined {
    if (!(index >= 0 && index < MAX_PAIRS * 2)) return undefined;
    while (this.rings.length <= index) {
      const ring = new Ring(this.rings.length);
      // Without PROTOCOL_FEATURES there is no SET_VRING_ENABLE and every ring is enabled.
      ring.enabled = this.ringsStartEnabled;
      this.applyFeatures(ring);
      this.rings.push(ring);
    }
    return this.rings[index];
  }

  /** Takes over the acknowledged features (SET_FEATURES). Without PROTOCOL_FEATURES all rings are enabled of which no SET_VRING_ENABLE said otherwise. */
  setFeatures(features: Bits): void {
    this.features = features;
    if (!has(features, FEATURE.LOG_ALL)) this.awaitsLog = false;
    // NET_SET_MTU was for a driver that knew of it, and comes before this.
    if (!has(features, FEATURE.MTU)) this.mtu = NO_MTU;
    this.mergeable = has(features, FEATURE.MRG_RXBUF);
    this.headerBytes = this.mergeable || has(features, FEATURE.VERSION_1) ? 12 : 10;
    this.csum = has(features, FEATURE.CSUM);
    this.hostTso4 = this.csum && has(features, FEATURE.HOST_TSO4);
    this.hostEcn = has(features, FEATURE.HOST_ECN);
    this.guestCsum = has(features, FEATURE.GUEST_CSUM);
    this.guestTso4 = this.guestCsum && has(features, FEATURE.GUEST_TSO4);
    this.guestEcn = has(features, FEATURE.GUEST_ECN);
    for (const ring of this.rings) this.applyFeatures(ring);
    // Said anew, it may be said otherwise: then rings wait for their SET_VRING_ENABLE again, or don't. QEMU before 7.2 sends that one, and never acknowledges the bit.
    const startEnabled = !has(features, FEATURE.PROTOCOL_FEATURES);
    if (startEnabled || this.ringsStartEnabled) {
      for (const ring of this.rings) if (!ring.enabledAsSaid) ring.enabled = startEnabled;
    }
    this.ringsStartEnabled = startEnabled;
    this.refresh();
  }

  /** Sets what of the features matters to one ring. */
  applyFeatures(ring: Ring): void {
    const packed = has(this.features, FEATURE.RING_PACKED);
    if (!ring.started && packed !== (ring.queue.format === 'packed')) {
      ring.queue = packed ? new PackedQueue() : new SplitQueue();
      ring.rewind();
    }
    const eventIndex = has(this.features, FEATURE.EVENT_IDX);
    if (eventIndex !== ring.queue.eventIndex) {
      // Its driver was asked to notify us in a way that it does not look at any more.
      ring.queue.disarm();
      ring.queue.eventIndex = eventIndex;
    }
    ring.queue.indirect = has(this.features, FEATURE.INDIRECT_DESC);
    ring.queue.log = has(this.features, FEATURE.LOG_ALL) ? this.log : null;
  }

  /**
   * The first ring is about to start. QEMU that starts a device during a migration shares the log only afterwards (vhost_dev_start): what
   * was written until then would be missing at the migration's other end.
   */
  firstStarts(): void {
    this.awaitsLog =
      this.sharesLog && has(this.features, FEATURE.LOG_ALL) && (this.log === null || this.logIsOld);
  }

  /** Takes over a log; returns the one before. */
  takeLog(log: DirtyLog): DirtyLog | null {
    const old = this.log;
    this.log = log;
    this.logIsOld = false;
    this.awaitsLog = false;
    for (const ring of this.rings) this.applyFeatures(ring);
    this.refresh();
    return old;
  }

  /** Recomputes which rings a turn looks at: after every change by the session. None while the log of what they write has to come. */
  refresh(): void {
    const usable = this.awaitsLog ? [] : this.rings.filter((ring) => ring.usable);
    this.outputs = usable.filter((ring) => !ring.isInput);
    this.inputs = usable.filter((ring) => ring.isInput && ring.enabled);
    this.receives = this.inputs.length > 0;
    if (this.inputs.length > 1) this.flows ??= new FlowPairs();
  }

  /** Some ring is started, whether or not datagrams flow through it. */
  get started(): boolean {
    return this.rings.some(({ started }) => started);
  }

  /** What comes for it goes into its rings, or waits until it may. */
  get expects(): boolean {
    return this.receives || this.awaitsLog;
  }

  /** Datagrams flow both ways. */
  get runs(): boolean {
    return this.receives && this.outputs.some((ring) => ring.enabled);
  }

  /** The VM's rings were in use, both ways, before this connection, or before they were stopped. */
  get wentOn(): boolean {
    const continued = this.rings.filter(({ wentOn }) => wentOn);
    return continued.some(({ isInput }) => isInput) && continued.some(({ isInput }) => !isInput);
  }

  /** The first started ring that is broken: `queue.broken` says why. */
  get brokenRing(): Ring | undefined {
    return this.rings.find((ring) => ring.started && ring.queue.broken !== '');
  }

  /** What is missing until datagrams flow, for people; '' when nothing is. */
  missing(): string {
    const broken = this.brokenRing;
    if (broken) {
      return `ring ${broken.index} is broken: ${broken.queue.broken}; it heals when the guest resets its driver`;
    }
    if (this.runs) return '';
    // QEMU names all of its rings at once, long before a driver starts.
    if (this.rings.length === 0)
      return `the front-end has named no ring yet; one that comes and goes so asks for more than the ${MAX_PAIRS} queue pairs there are ("queues=")`;
    if (this.memory.count === 0) {
      return 'the front-end has shared no memory: either the guest’s driver has not started, or QEMU lacks "-object memory-backend-memfd,...,share=on"';
    }
    if (!this.rings.some((ring) => ring.started))
      return 'the guest’s driver has not started its rings';
    return 'not all rings are started and enabled';
  }
}
