/**
 * Whose rings are looked at without being asked. A port comes in by a kick, a message or a datagram for it, and stays until it has
 * been quiet for `spin`; then its driver is asked to notify us. Idle ports cost nothing, however many there are.
 */
import type { Port } from '../port/port.ts';

/** Milliseconds that are looked on in any case: less than falling asleep takes. */
export const LEAST_SPIN = 0.002;

export class Attention {
  /** In no particular order. */
  readonly active: Port[] = [];
  /** Milliseconds that a port is looked at after its last work: as long as is allowed, and at the least. Cells, see `Turn.time`. */
  private readonly spins = new Float64Array(2);
  /** Which of them the last `quieten` went by. */
  private early = false;
  /** Now, in milliseconds. */
  private readonly time: Float64Array;

  constructor(time: Float64Array) {
    this.time = time;
  }

  /** The longest a port is looked at after its last work. */
  get spin(): number {
    return this.spins[0];
  }

  set spin(longest: number) {
    this.spins[0] = longest;
    this.spins[1] = Math.min(longest, LEAST_SPIN);
  }

  /** How long the last `quieten` looked on after a port's last work: whoever else looks on does so as long. */
  get looksOn(): number {
    return this.spins[this.early ? 1 : 0];
  }

  /** Looks at this port in every turn until it is quiet again. */
  activate(port: Port): void {
    if (port.active) return;
    port.active = true;
    this.active.push(port);
  }

  /**
   * Stops looking at ports without work for `spin` (`early`: for LEAST_SPIN), once their drivers have been asked to notify us and nothing came
   * in between. Output rings notify nobody while they are looked at, input rings not once something was put into them (`InputBuffers.put`).
   */
  quieten(early: boolean): void {
    const { active } = this;
    this.early = early;
    const now = this.time[0];
    const since = now - this.looksOn;
    for (let index = active.length - 1; index >= 0; index--) {
      const port = active[index];
      if (port.lastWork > since) continue;
      if (this.arm(port)) {
        port.lastWork = now;
        continue;
      }
      port.active = false;
      active[index] = active[active.length - 1];
      active.pop();
    }
  }

  /** Arms all rings that could bring work; true when one did already. */
  private arm(port: Port): boolean {
    const attachment = port.current;
    if (attachment === null) return false;
    let work = false;
    const { outputs } = attachment;
    for (let index = 0; index < outputs.length; index++) {
      const ring = outputs[index];
      if (ring.queue.arm(ring.queue.nextAvail)) work = true;
    }
    const { backlog } = port;
    if (backlog === null || backlog.count === 0) return work;
    // Only rings that are waited for: others have buffers that help nobody, and would be found to have work for ever.
    const { inputs } = attachment;
    for (let index = 0; index < inputs.length; index++) {
      const ring = inputs[index];
      if (backlog.waitingFor(ring.pair) === 0) continue;
      const { queue } = ring;
      if (!queue.arm(queue.fullAt)) continue;
      queue.disarm();
      work = true;
    }
    return work;
  }
}
