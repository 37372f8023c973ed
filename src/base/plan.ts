/**
 * What the main thread and the turn workers say to each other. Everything here is plain data (structured clone).
 *
 * The *plan* is the configuration after checking: names resolved to indices, defaults filled in. Port numbers
 * are record numbers: VMs 0..V-1 in plan order, then adapters V..V+A-1.
 */
import type { AdapterState, VmState } from '../counters.ts';

export interface NetworkPlan {
  name: string;
  /** Network address, dotted, and prefix length. */
  subnet: string;
  prefix: number;
  /** The base's own address. */
  address: string;
  /** The base's MAC, "02:00:…"; derived from name and subnet where the configuration has none. */
  mac: string;
  mtu: number;
  /** Offer VIRTIO_F_RING_PACKED on this network's ports. */
  packed: boolean;
}

export interface SocketPlan {
  /** Path, or '' when `fd` is given. */
  path: string;
  mode: 'server' | 'client';
  /** An inherited, connected or listening descriptor instead of a path; -1: none. */
  fd: number;
  /** Of the socket file. */
  fileMode: number;
  uid: number; // -1: leave
  gid: number; // -1: leave
  /** User ids that may connect besides root and our own; empty: anyone who can open the file. */
  allowUids: number[];
}

export interface VmPlan {
  name: string;
  network: number; // index
  /** Dotted addresses; the first is the one ICMP errors go to. */
  addresses: string[];
  /** Further prefixes routed to this VM, "10.1.0.0/16". */
  prefixes: string[];
  mac: string | null;
  management: boolean;
  /** The turn worker that owns it, 0 .. datapath.workers - 1. Worker 0 owns the adapters. */
  worker: number;
  /** One or more sockets, each a front-end of the same VM (live migration on one host). */
  sockets: SocketPlan[];
}

export interface AdapterPlan {
  name: string;
  interface: string;
  network: number;
  /** VM indices in order of preference. */
  controllers: number[];
  nextHop: string | null;
  /** Own unicast MAC, or null: the interface's. */
  mac: string | null;
  leaseSeconds: number;
  onControllerLoss: 'keep' | 'close';
  /** Couple datagrams of one UDP flow that leave in a row (`adapter/udp-train.ts`). auto: where nobody else sees it. */
  coupleUdp: boolean | 'auto';
}

/** Most VMs of one turn worker: the room for their backlogs (`port/backlog.ts`) lies in one arena, of 1 GiB at most. */
export const MAX_VMS_PER_WORKER = 1600;

export interface BasePlan {
  networks: NetworkPlan[];
  vms: VmPlan[];
  adapters: AdapterPlan[];
  datapath: {
    poll: 'adaptive' | 'busy';
    spinMicroseconds: number;
    /** Most microseconds that notifications are waited out together; 0: never. */
    restMicroseconds: number;
    burst: number;
    /** Turn workers. */
    workers: number;
    /** The processor core of each worker; empty: wherever the system likes. */
    cores: number[];
  };
}

/** What several workers share besides the plan: the rings between them (src/handoff/). The descriptors are the main thread's. */
export interface HandoffStart {
  /** memfd with all rings. */
  memory: number;
  /** Each worker's wake eventfd. */
  wakeFds: number[];
}

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
  | {
      kind: 'adapterOpened';
      adapter: number; // index into plan.adapters
      fd: number;
      doorbell: { fd: number; mapBytes: number };
      headerBytes: number;
      receive: { blockBytes: number; blocks: number };
      transmit: { frameBytes: number; frames: number };
      mapBytes: number;
      interfaceIndex: number;
      mac: string;
      mtu: number;
      up: boolean;
      /** auto: while the interface does not take long UDP frames, so that the kernel cuts what is coupled. */
      coupleUdp: boolean | 'auto';
      takesLongUdp: boolean;
    }
  | { kind: 'adapterRefused'; adapter: number; reason: string }
  /** To the adapters' worker: a VM of another worker appeared or moved. */
  | { kind: 'announce'; vm: number }
  /** Please trace the next `count` datagrams that a VM sends or gets; answered by `traced` with the same id. */
  | { kind: 'trace'; id: number; vm: number; count: number }
  /** No longer: answered by `traced` with what there is. */
  | { kind: 'traceEnd'; id: number }
  /** Show what is not shown yet, then say so: `shown`. */
  | { kind: 'show'; id: number };

/** One end of a traced datagram's way. */
export interface TracedPlace {
  /** VM or adapter name, or "base". */
  port: string;
  kind: string;
  /** Virtqueue index, where there is one. */
  ring: number | null;
  /** Guest-physical address of the buffer, or the offset in the adapter's ring. */
  address: string | null;
  /** Bytes copied there or from there, virtio-net header included. */
  bytes: number | null;
}

/** The way that one datagram took. */
export interface TracedDatagram {
  from: TracedPlace;
  storage: { slot: number; offset: number; bytes: number };
  datagram: {
    kind: string;
    sourceMac: string;
    destinationMac: string;
    source?: string;
    destination?: string;
    bytes?: number;
    timeToLive?: number;
  };
  decision: string;
  /** Null when it was not put anywhere. */
  to: TracedPlace | null;
}

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

export interface AdapterDetail {
  state: AdapterState;
  openedBy: string | null; // VM name
  /** Whole seconds left of the lease, or null. */
  leaseSeconds: number | null;
  mac: string | null;
  mtu: number | null;
  neighbours: number;
  reason: string; // why it is not open
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
