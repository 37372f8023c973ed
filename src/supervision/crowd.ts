/**
 * Tells a turn worker whether the host is crowded: no core idle, so that each of its wake-ups takes a core from somebody, most likely
 * one of its own guests. Looked at only while the worker wakes up often.
 */
import { BEAT } from '../beat.ts';
import { IdleCores } from './idle-cores.ts';

/** Waits of a worker per millisecond from which it matters. */
const OFTEN = 1;
/** Idle cores below which the host is crowded, and above which it is not any more: the rests themselves leave some idle. */
const CROWDED = 0.75;
const ROOMY = 1.25;

export class Crowd {
  private readonly idleCores: Pick<IdleCores, 'read' | 'forget'>;
  private waits = 0;
  private lastLook = 0;
  private crowded = false;

  constructor(idleCores: Pick<IdleCores, 'read' | 'forget'> = new IdleCores()) {
    this.idleCores = idleCores;
  }

  /** One look, `now` in milliseconds, at a worker's `beat`, where the answer is put. */
  look(beat: Int32Array, now: number): void {
    const waits = Atomics.load(beat, BEAT.waits);
    const often = ((waits - this.waits) | 0) > OFTEN * (now - this.lastLook);
    this.waits = waits;
    this.lastLook = now;
    if (often) {
      const idle = this.idleCores.read();
      if (idle !== null) this.crowded = idle < (this.crowded ? ROOMY : CROWDED);
    } else {
      this.idleCores.forget();
      this.crowded = false;
    }
    Atomics.store(beat, BEAT.crowded, this.crowded ? 1 : 0);
  }
}
