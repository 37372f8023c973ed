/** What routing works on. All of it belongs to the turn worker's thread. */
import type { Counters } from '../counters.ts';
import type { Port } from '../port/port.ts';
import type { BaseStorage } from '../storage/base-storage.ts';
import type { Outbox } from '../storage/outbox.ts';
import type { Network } from './network.ts';
import type { WayOut } from './way-out.ts';

export interface RoutingContext {
  /** Now, as the turn has it: see `TurnContext.time`. */
  time: Float64Array;
  storage: BaseStorage;
  ports: Port[];
  adapters: WayOut[];
  networks: Network[];
  counters: Counters;
  outbox: Outbox;
  /** Another worker owns the adapters and answers control requests. */
  adaptersElsewhere: boolean;
  /** Counts a control request of the VM; false when it sends too many: then nobody looks at it. Asked for each, allocates nothing. */
  admitsControl(port: Port): boolean;
  /** An admitted control request arrived: VM, its address (key) and UDP port, the payload (a view, valid during the call). */
  control(port: Port, source: number, udpPort: number, payload: Uint8Array): void;
}
