/**
 * Every count by name and sentence, among them each reason a datagram is dropped.
 *
 * Each VM and each adapter has one *record* of Float64 cells in a SharedArrayBuffer: a turn worker adds, the main
 * thread reads at any time. Of several workers each has such a block of its own, so that no cell has two writers, and a count is the
 * sum over all. A drop is counted on the port the datagram *came from*, so that for every port
 *     received = delivered + the sum of its drops (+ what waits in a backlog this very moment).
 */
export const TRAFFIC = [
  'receivedDatagrams', // taken from the port: a VM's output buffer, an adapter's receive ring
  'receivedBytes',
  'delivered', // of these: put into another port, or answered by the base itself
  'sentDatagrams', // put into the port: a VM's input buffer, an adapter's transmit ring
  'sentBytes',
  'waiting', // of the received: now in a backlog or waiting for a neighbour's address
  'handedOver', // of the received: put into the ring to another worker, and ...
  'takenOver', // ... taken out of it there: what is between the two waits as well
] as const;

export const DROP_REASONS = {
  // what the datagram is
  runt: 'shorter than an Ethernet header',
  notIp: 'neither IPv4 nor ARP',
  ipv6: 'IPv6 is not routed',
  vlan: 'carries the tag of a VLAN',
  badIp: 'IPv4 header malformed: version, lengths or header checksum',
  ipOptions: 'carries a source-route option',
  martian: 'source or destination address that must not be on a wire',
  badChecksumOffload: 'virtio-net header asks for a checksum outside the datagram',
  badSegmentation: 'virtio-net header asks for an impossible or not negotiated segmentation',
  arpInvalid: 'malformed ARP',
  // who sent it
  spoofed: 'source address or MAC is not the port’s own',
  // where it wants to go
  adapterClosed: 'destination is no VM’s and no management guest has opened the adapter',
  adapterDown: 'the adapter’s interface is down',
  adapterGone: 'the adapter’s interface does not exist any more',
  adapterFull: 'the adapter’s transmit ring is full',
  adapterTruncated: 'longer than the adapter’s receive ring holds',
  noRoute: 'destination is no VM’s and there is no adapter that leads there',
  notServed: 'to the base’s own address, and nothing that the base answers',
  notOurs: 'came from outside for an address that is no VM’s',
  neighbourUnresolved: 'the LAN neighbour did not answer ARP, or too many datagrams waited for it',
  ttlExpired: 'time to live ran out',
  tooBig: 'larger than the receiver or the adapter takes',
  workerLost: 'the turn worker that had it failed',
  handoffFull: 'the ring to the turn worker that serves the receiver is full',
  receiverNotRunning: 'the receiving VM is not connected or its rings are not started',
  inputFull: 'the receiving VM has no free input buffers and its backlog is full',
  inputTooSmall: 'does not fit into the receiving VM’s input buffers',
  ringDisabled: 'the ring it came through is disabled by the front-end',
  // limits
  broadcastLimited: 'too many broadcasts from this port',
  arpLimited: 'too many ARP requests from this port',
  icmpLimited: 'too many datagrams that ask for an answer by the base',
  storageFull: 'no room in base storage for its segments, its fragments or an answer to it',
  // the chain it came in (recycled: the chain goes back with length 0)
  shortChain: 'descriptor chain ends within the virtio-net header',
  oversize: 'descriptor chain is longer than 64 KiB and headers',
  chainLoop: 'descriptor chain loops or is longer than the ring',
  chainBadNext: 'descriptor points to a descriptor outside its table',
  chainBadAddress: 'descriptor points outside the VM’s memory',
  chainBadIndirect: 'indirect descriptor table malformed or not negotiated',
  chainBadOrder: 'readable descriptor behind a writable one',
  chainBadDirection: 'descriptor of the wrong direction for this ring',
} as const;

export type DropReason = keyof typeof DROP_REASONS;

/** What happened to a port besides its datagrams. */
export const EVENTS = {
  connects: 'front-end connections accepted',
  disconnects: 'front-end connections ended',
  refusedConnections: 'connections refused because the port was busy or the peer not allowed',
  messages: 'vhost-user messages served',
  nacks: 'vhost-user requests refused, with a non-zero reply where one was wanted',
  malformedMessages: 'connections closed because of a malformed message',
  unknownMessages: 'vhost-user requests of unknown number',
  messageTimeouts: 'connections closed because a message or the start took too long',
  slowClients: 'connections closed because replies were not read',
  memoryFaults: 'connections closed because shared memory was truncated (SIGBUS)',
  costlySignals:
    'connections closed because signalling a call eventfd took too much processor time',
  ringsBroken: 'rings stopped because their driver broke the rules, or the memory they lie in went',
  badInputChains: 'input buffers returned unused because their chain was malformed',
  controlRequests: 'control requests received',
  controlRefused: 'control requests refused',
  broadcasts: 'copies of broadcasts made for the port; those it did not take are missed, too',
  missed: 'what the base itself sent, or copies of broadcasts, that the port did not take',
  receiveOverruns: 'frames the kernel dropped before the adapter could take them',
  transmitRefused: 'frames put into the transmit ring that the interface or its queue refused',
} as const;

export const CELLS: readonly string[] = [
  ...TRAFFIC,
  ...Object.keys(EVENTS),
  ...Object.keys(DROP_REASONS),
];

/** Cells of one record, rounded to whole cache lines so that two ports never share one. */
export const RECORD_CELLS = (CELLS.length + 7) & ~7;

/**
 * Index of each cell inside a record. Read what a file needs into constants when it is loaded (`const RUNT = CELL.runt`): the table is too large for
 * V8 to keep as a fast object, so each look-up later is one of a hash table.
 */
export const CELL = Object.fromEntries(CELLS.map((name, index) => [name, index])) as Record<
  (typeof TRAFFIC)[number] | keyof typeof EVENTS | DropReason,
  number
>;

const DROP_REASON_COUNT = Object.keys(DROP_REASONS).length;
/** First drop cell: reasons are numbered from here, in the order of DROP_REASONS. */
export const FIRST_DROP = CELLS.length - DROP_REASON_COUNT;

export const VM_STATES = ['waiting', 'connected', 'running', 'broken'] as const;
export const ADAPTER_STATES = ['closed', 'open', 'down', 'gone'] as const;
export type VmState = (typeof VM_STATES)[number];
export type AdapterState = (typeof ADAPTER_STATES)[number];

/** All records of a base: VMs first, then adapters, in the order of the plan. */
export class Counters {
  readonly buffer: SharedArrayBuffer;
  readonly cells: Float64Array;

  constructor(records: number, buffer?: SharedArrayBuffer) {
    this.buffer = buffer ?? new SharedArrayBuffer(records * RECORD_CELLS * 8);
    this.cells = new Float64Array(this.buffer);
  }

  /** First cell of a record. */
  firstCell(record: number): number {
    return record * RECORD_CELLS;
  }

  /** One count of one VM or adapter, by record number. */
  get(record: number, name: keyof typeof CELL): number {
    return this.cells[record * RECORD_CELLS + CELL[name]];
  }

  /** Adds to it. Only the thread that owns this block may: cells have one writer. */
  add(record: number, name: keyof typeof CELL, amount = 1): void {
    this.cells[record * RECORD_CELLS + CELL[name]] += amount;
  }
}

/** The counts of all turn workers, summed up: what status and metrics show. */
export class CounterSums {
  /** One block per worker. Only its worker writes to it, or the main thread when that worker is gone. */
  readonly blocks: readonly Counters[];

  constructor(records: number, workers: number) {
    this.blocks = Array.from({ length: workers }, () => new Counters(records));
  }

  /**
   * Of what came from the port and reached this worker, from the port itself or from another worker: how many it neither delivered nor
   * dropped nor handed over. Between two turns these wait.
   */
  here(worker: number, record: number): number {
    const block = this.blocks[worker]!;
    let here = block.get(record, 'receivedDatagrams') + block.get(record, 'takenOver');
    here -= block.get(record, 'delivered') + block.get(record, 'handedOver');
    const drops = block.firstCell(record) + FIRST_DROP;
    for (let cell = drops; cell < drops + DROP_REASON_COUNT; cell++) here -= block.cells[cell];
    return here;
  }

  /** The sum over all workers; for `waiting` with what is on its way between two of them. */
  get(record: number, name: keyof typeof CELL): number {
    const sum = this.sum(record, name);
    if (name !== 'waiting') return sum;
    // The blocks are not read at one instant: a datagram may be seen as taken that was not yet seen as handed over.
    return Math.max(0, sum + this.sum(record, 'handedOver') - this.sum(record, 'takenOver'));
  }

  private sum(record: number, name: keyof typeof CELL): number {
    let sum = 0;
    for (const block of this.blocks) sum += block.get(record, name);
    return sum;
  }
}
