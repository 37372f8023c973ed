/** What the stages of a turn work on. All of it belongs to the turn worker's thread. */
import type { Adapter } from '../adapter/adapter.ts';
import type { Outbox } from '../storage/outbox.ts';
import type { Tracer } from './trace.ts';
import type { Handoff } from '../handoff/handoff.ts';
import type { Native } from '../native.ts';
import type { Ring } from '../port/ring.ts';
import type { Budget } from '../port/output.ts';
import type { Port } from '../port/port.ts';
import type { Workspace } from '../port/workspace.ts';
import type { Network } from '../routing/network.ts';
import type { Router } from '../routing/router.ts';

export interface TurnContext extends Workspace {
  /**
   * Now, in milliseconds of the worker's clock: read before a turn, not in it. A cell and no parameter: V8 makes an object of each fraction
   * that is passed on, and an empty turn should leave no garbage.
   */
  time: Float64Array;
  native: Native;
  ports: Port[];
  adapters: Adapter[];
  networks: Network[];
  router: Router;
  outbox: Outbox;
  tracer: Tracer;
  /** To and from the other workers; null when there is only one. */
  handoff: Handoff | null;
  budget: Budget;
  /** Where in the arena the backlog of each port lies. */
  backlogStart(port: number): number;
  /** A ring stopped working; told after the turn's stage, at most once per ring. */
  ringBroke(port: Port, ring: Ring): void;
  /** To signal a ring's driver took so much of this thread's processor time; more than it should. */
  signalCosts(ring: Ring, milliseconds: number): void;
}
