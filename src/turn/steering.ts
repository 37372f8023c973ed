/**
 * Of VMs with several queue pairs, which pair brought which slots of this turn: once the bytes are in base storage their flows are noted, so that
 * answers go back to the pair that asked (port/flow-pairs.ts).
 */
import { flowOf } from '../port/flow-pairs.ts';
import type { Port } from '../port/port.ts';
import { IPV4 } from '../routing/ether-types.ts';
import type { BaseStorage } from '../storage/base-storage.ts';
import * as ethernet from '../wire/ethernet.ts';

/** Numbers of a run: its first slot, the one behind its last, and the pair. */
const CELLS = 3;

export class Steering {
  private readonly storage: BaseStorage;
  private readonly ports: readonly Port[];
  private readonly time: Float64Array;
  private readonly runs: Int32Array;
  private count = 0;

  /** `time[0]` is now, in milliseconds. */
  constructor(storage: BaseStorage, ports: readonly Port[], time: Float64Array) {
    this.storage = storage;
    this.ports = ports;
    this.time = time;
    // Each run has a slot at least.
    this.runs = new Int32Array(CELLS * storage.to.length);
  }

  /** The slots from `first` on came through this queue pair of their port. */
  brought(first: number, pair: number): void {
    const { runs, storage } = this;
    if (storage.count === first) return;
    runs[this.count++] = first;
    runs[this.count++] = storage.count;
    runs[this.count++] = pair;
  }

  /** Call when the copies are made: notes the flows. */
  note(): void {
    const { runs, storage, ports, time } = this;
    const { at: ats, from, words, bytes, halves } = storage;
    for (let run = 0; run < this.count; run += CELLS) {
      const first = runs[run];
      const flows = ports[from[first]].current?.flows;
      if (!flows) continue;
      for (let slot = first; slot < runs[run + 1]; slot++) {
        const at = ats[slot];
        if (halves[(at + ethernet.ETHER_TYPE) >> 1] === IPV4)
          flows.sent(flowOf(words, bytes, at), runs[run + 2], time);
      }
    }
    this.count = 0;
  }
}
