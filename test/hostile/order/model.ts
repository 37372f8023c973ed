/** What a base must think of a VM, as vhost-user.rst ("Ring states") describes it. */
import { ALL_PROTOCOL } from './bench.ts';

export interface RingModel {
  sized: boolean;
  addressed: boolean;
  started: boolean;
  /** Told to start before its parts were named. */
  waits: boolean;
  enabled: boolean;
  /** It was told whether it is. */
  asked: boolean;
  mapped: boolean;
}

/** What the base must think of the VM. */
export class Model {
  protocol = 0n;
  /** Rings are enabled without being told. */
  startEnabled = false;
  /** Rings that were spoken of. */
  made = 0;
  rings: RingModel[] = [];
  /** Regions that are there, and by which request. */
  regions = new Map<number, 'table' | 'added'>();
  removed = new Set<number>();
  /** Numbers of datagrams in the output ring that were not taken. */
  pending: number[] = [];
  next = 0;

  constructor() {
    this.reset();
  }

  /** A new connection whose front-end has set its features, and no more. */
  reset(): void {
    this.protocol = ALL_PROTOCOL;
    this.startEnabled = false;
    this.made = 0;
    this.rings = [0, 1].map(() => ({
      sized: false,
      addressed: false,
      started: false,
      waits: false,
      enabled: false,
      asked: false,
      mapped: false,
    }));
    this.regions.clear();
    this.removed.clear();
    this.pending = [];
  }

  has(feature: bigint): boolean {
    return (this.protocol & feature) !== 0n;
  }

  /** Ring `index` is spoken of, and with it those before it. */
  ring(index: number): RingModel {
    for (; this.made <= index; this.made++) {
      if (this.made < 2) this.rings[this.made].enabled = this.startEnabled;
    }
    return this.rings[index];
  }

  get spokenOf(): RingModel[] {
    return this.rings.slice(0, this.made);
  }

  /** The rings lie in the second region. */
  mappable({ sized, addressed }: RingModel): boolean {
    return sized && addressed && this.regions.has(1);
  }

  /** Nobody has named all its parts yet: it may start once somebody has. */
  lacksParts({ sized, addressed }: RingModel): boolean {
    return !sized || !addressed || this.regions.size === 0;
  }

  start(ring: RingModel): void {
    Object.assign(ring, { started: true, mapped: true, waits: false });
  }

  /** A part of it was named. */
  partCame(ring: RingModel): void {
    if (ring.waits && this.mappable(ring)) this.start(ring);
  }

  memoryChanged(): void {
    for (const ring of this.spokenOf) {
      this.partCame(ring);
      if (ring.started && ring.addressed) ring.mapped = this.mappable(ring);
    }
  }

  runs(index: number): boolean {
    return this.rings[index].started && this.rings[index].mapped;
  }

  get idle(): boolean {
    return !this.runs(0) && !this.runs(1);
  }
}
