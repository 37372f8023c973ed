/** What the main thread and the turn workers say to each other. Everything here is plain data (structured clone). */
import type { AdapterCondition } from '../adapter/adapter.ts';
import type { OpenedSockets } from '../adapter/packet-sockets.ts';
import type { VmState } from '../counters.ts';
import type { HandoffStart } from '../handoff/layout.ts';
import type { BasePlan } from '../plan.ts';
import type { TracedDatagram } from '../turn/trace.ts';

/** workerData of a turn worker. */
export interface WorkerStart {
  plan: BasePlan;
  /** Which one it is. */
  worker: number;
  /** Null when there is only one. */
  handoff: HandoffStart | null;
  /** This worker's own block of counters: one record per VM, then per adapter. */
  counters: SharedArrayBuffer;
  /** See BEAT in beat.ts. */
  beat: SharedArrayBuffer;
  /** What a base before this one left (`base/warm-state.ts`), or null. */
  state: unknown;
  /** eventfd that wakes the worker after a postMessage to it. */
  wakeFd: number;
}

export type ToWorker =
  /** `away`: the workers that do not run now, for whose last datagrams nobody need wait. */
  | { kind: 'stop'; away: number[] }
  /** Answer to adapterOpen. The descriptors are the main thread's, until adapterTaken: the worker makes its own from them. */
  | ({ kind: 'adapterOpened'; adapter: number } & OpenedSockets) // adapter: index into plan.adapters
  | { kind: 'adapterRefused'; adapter: number; reason: string }
  /** To the adapters' worker: a VM of another worker appeared or moved. */
  | { kind: 'announce'; vm: number }
  /** Please trace the next `count` datagrams that a VM sends or gets; answered by `traced` with the same id. */
  | { kind: 'trace'; id: number; vm: number; count: number }
  /** No longer: answered by `traced` with what there is. */
  | { kind: 'traceEnd'; id: number }
  /** Show what is not shown yet, then say so: `shown`. */
  | { kind: 'show'; id: number };

export interface VmDetail {
  state: VmState;
  /** What is missing until datagrams flow, as a sentence; '' when running. */
  missing: string;
  frontend: { pid: number; uid: number } | null;
  /** Negotiated feature names. */
  features: string[];
  /** Learned or configured. */
  mac: string | null;
  queuePairs: number;
  memory: { regions: number; bytes: number };
  rings: {
    index: number;
    format: 'split' | 'packed';
    size: number;
    started: boolean;
    enabled: boolean;
    broken: string;
  }[];
  lastError: string;
}

export interface AdapterDetail extends AdapterCondition {
  openedBy: string | null; // VM name
  /** Whole seconds left of the lease, or null. */
  leaseSeconds: number | null;
}

export type FromWorker =
  /** All sockets listen, the worker is in its loop. */
  | { kind: 'ready' }
  /** A configured thing could not be set up; the daemon says so and ends with exit code 1 (before ready). */
  | { kind: 'failed'; message: string }
  | {
      kind: 'log';
      level: 'debug' | 'info' | 'warn' | 'error';
      vm?: string;
      adapter?: string;
      message: string;
      fields?: Record<string, unknown>;
    }
  | { kind: 'vm'; vm: number; detail: VmDetail }
  | { kind: 'adapter'; adapter: number; detail: AdapterDetail }
  /** Please open the packet sockets (the main thread has the capability and the time). */
  | { kind: 'adapterOpen'; adapter: number }
  /** The worker has descriptors of its own of what adapterOpened brought; or, not `taken`, none, and will have none. */
  | { kind: 'adapterTaken'; adapter: number; taken: boolean }
  /** Please tell the adapters' worker that this VM appeared or moved. */
  | { kind: 'announce'; vm: number }
  /** The warm state changed. */
  | { kind: 'state'; state: unknown }
  | { kind: 'traced'; id: number; datagrams: TracedDatagram[] }
  | { kind: 'shown'; id: number }
  /** All rings quiesced and published, sockets closed. */
  | { kind: 'stopped' };
