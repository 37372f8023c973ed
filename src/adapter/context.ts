/**
 * What an adapter needs of the turn worker around it. Everything here lives in the worker's thread.
 */
import type { AdapterPlan, NetworkPlan } from '../plan.ts';
import type { Outbox } from '../storage/outbox.ts';
import type { Watcher } from '../watcher.ts';
import type { Counters } from '../counters.ts';
import type { Native } from '../native.ts';
import type { BaseStorage } from '../storage/base-storage.ts';
import type { CopyList } from '../storage/copy-list.ts';

/** The address list of the adapter's network, the base's own address not among it. */
export interface AdapterAddresses {
  /** Port of the VM that owns the address (its key), or below 0. */
  owner(key: number): number;
  /** Keys of all listed addresses, for announcements. */
  ownedKeys(): Iterable<number>;
}

export interface AdapterContext {
  native: Native;
  storage: BaseStorage;
  copies: CopyList;
  counters: Counters;
  outbox: Outbox;
  /** Port number, also the number of its counter record. */
  port: number;
  /** Number of ports: VMs and adapters. */
  senders: number;
  plan: AdapterPlan;
  network: NetworkPlan;
  addresses: AdapterAddresses;
  log(
    level: 'debug' | 'info' | 'warn' | 'error',
    message: string,
    fields?: Record<string, unknown>,
  ): void;
  /** The neighbour that `packet` (virtio-net header and frame) of port `from` waited for did not answer. Called between turns. */
  unreached(from: number, packet: Uint8Array): void;
  /** Asks the main thread for the packet sockets; it answers with adapterOpened or adapterRefused. */
  requestOpen(): void;
  /** The worker's wait. */
  watcher: Pick<Watcher, 'watch' | 'change' | 'pause' | 'resume' | 'unwatch'>;
  /** Milliseconds of the monotonic clock whose time `tick` gets. A native call: between turns only. */
  now(): Milliseconds;
  /** `time[0]`: the same, as it was when the turn that is under way began. */
  time: Float64Array;
  /** A timer was set to that time: `tick` is to be called by then. */
  due(time: Milliseconds): void;
  /** State, MAC, MTU or reason changed. */
  onChange(): void;
}

/** Times in milliseconds of a monotonic clock, the worker's `tick` argument. */
export type Milliseconds = number;
