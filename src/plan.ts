/**
 * The configuration after checking: names resolved to indices, defaults filled in. Plain data (structured clone), made by the main thread
 * (`config/plan.ts`) and known to every turn worker. Port numbers are record numbers: VMs 0..V-1 in plan order, then adapters V..V+A-1.
 */
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
  /** User ids that may connect besides root and our own, which may be none; null: anyone who can open the file. */
  allowUids: number[] | null;
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

/** Queue pairs that a VM can have. QEMU that is given more (`queues=`) connects on and on, and never starts. */
export const MAX_PAIRS = 16;

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
