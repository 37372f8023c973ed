/**
 * Tells a turn worker whether the host is crowded: others use all cores but one, or that one as well, so that each of its wake-ups takes a
 * core from somebody, most likely one of its own guests. Looked at only while the worker wakes up often.
 */
import { BEAT } from '../beat.ts';
import { IdleCores } from './idle-cores.ts';

/** Waits of a worker per millisecond from which it matters, and while it rests. */
const OFTEN = 1;
const RESTING = 0.05;
/** Cores that others leave below which the host is crowded. A base that has one for itself alone is not in a crowd. */
const CROWDED = 0.9;

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
    const enough = (this.crowded ? RESTING : OFTEN) * (now - this.lastLook);
    const often = ((waits - this.waits) | 0) > enough;
    this.waits = waits;
    this.lastLook = now;
    if (often) {
      const idle = this.idleCores.read();
      if (idle !== null) this.crowded = idle < CROWDED;
    } else {
      this.idleCores.forget();
      this.crowded = false;
    }
    Atomics.store(beat, BEAT.crowded, this.crowded ? 1 : 0);
  }
}
