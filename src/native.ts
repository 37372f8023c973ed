/**
 * The only door to the addon (`native/`): everything JavaScript cannot do, and no policy.
 *
 * Rules that hold for every function here:
 * - A descriptor is a plain number. The thread that opened it, or received it, closes it (`closeDescriptor`, not Node's own functions),
 *   unless a line says otherwise. What a worker thread leaves open is closed when the thread ends, however that happens.
 * - Nothing blocks except `Waiter.wait`; `mapRegion` waits five milliseconds at most, for the seal.
 * - A failed system call throws an `Error` with `code` (`'ENOENT'`, …), `errno` (negative, as in Node) and `syscall`; calls that
 *   are expected to fail in passing (nothing to read, buffer full) return a negative number instead.
 * - The addon keeps one state per thread that loads it (Node-API environment); region handles, waiters and
 *   lists belong to the thread that made them.
 */
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { CommandError } from './exit-codes.ts';

/** What `mapRegion` refuses before it maps anything; `error.code` of the thrown error. */
export type RegionRefusal =
  | 'NOT_MEMORY' // not a regular file on tmpfs or hugetlbfs (memfd, /dev/shm, /dev/hugepages)
  | 'PAST_END' // offset + length is beyond the end of the file
  | 'READ_ONLY' // the descriptor can't be mapped for writing
  | 'BAD_RANGE'; // length 0, or a sum that does not fit

/** Layout of one row of a copy list: 24 bytes. */
export const COPY_ROW = {
  /** Float64 index = row * 3: byte offset inside the region, an exact integer below 2^53. */
  offset: 0,
  /** Int32 index = row * 6 + 2: region handle. */
  region: 2,
  /** Int32 index = row * 6 + 3: byte offset inside the arena. */
  arena: 3,
  /** Int32 index = row * 6 + 4: bytes to copy, >= 0. */
  length: 4,
  bytes: 24,
} as const;

/** Result of opening an AF_PACKET socket with both rings set up but not yet mapped. */
export interface PacketSocket {
  fd: number;
  /**
   * Bytes of the virtio-net header in front of each frame of the transmit ring: 12 (PACKET_VNET_HDR_SZ) or 10. In the receive
   * ring the kernel always writes the first 10, ending where the frame begins (`tp_mac`); so measured on Linux 6.18.
   */
  headerBytes: number;
  receive: { blockBytes: number; blocks: number };
  transmit: { frameBytes: number; frames: number };
  /** Bytes to map from offset 0: the receive ring, then the transmit ring. */
  mapBytes: number;
}

export interface PacketOptions {
  interfaceIndex: number;
  /** TPACKET_V3 receive ring. */
  blockBytes: number;
  blocks: number;
  /** Milliseconds after which the kernel hands over a block that is not full. */
  retireMilliseconds: number;
  /** Transmit ring. frameBytes holds the ring header, the virtio-net header and the longest frame. */
  frameBytes: number;
  frames: number;
  /** Unicast MAC address to receive instead of the interface's own (PACKET_MR_UNICAST), or null. */
  unicast: Uint8Array | null;
  /** A packet socket that exists already (`packetSocket`) and stays the caller's: the result's `fd` is another descriptor of it. */
  socket?: number;
}

export interface InterfaceInfo {
  index: number;
  type: number;
  mac: Uint8Array;
  mtu: number;
  flags: number;
  /** Has tx-udp-segmentation: it gets UDP trains as they are. False: the kernel cuts them before. True where it does not say. */
  takesLongUdp: boolean;
}

export interface PeerCredentials {
  pid: number;
  uid: number;
  gid: number;
}

/** Numbers as in socket(2): AF_UNIX is 1, SOCK_STREAM is 1. */
export interface SocketKind {
  family: number;
  type: number;
  /** Accepts connections: listen(2) was called. */
  listens: boolean;
  /** Has, or had, a peer. */
  connected: boolean;
}

export interface Native {
  // --- memory shared by a front-end ---------------------------------------------------------
  /**
   * Maps `length` bytes of `fd` from `offset` (MAP_SHARED, read and write, MADV_DONTDUMP), with an
   * inaccessible page on both sides, and returns a region handle (a small integer >= 0, reused after unmap).
   * Refuses (see RegionRefusal) what is no shared memory or ends before offset + length. `offset` need not be page-aligned. The
   * descriptor stays the caller's and may be closed at once. `owner`: who shared it, an integer >= 0. With one, another
   * thread tries to add F_SEAL_SHRINK to the file, and unmaps the region in the end (from `unmapRegion` until then it counts in `unmapping`); without
   * one there is no seal, and `unmapRegion` unmaps at once.
   */
  mapRegion(fd: number, offset: number, length: number, owner?: number): number;
  /** Maps a packet socket's rings (no file checks) as a region. */
  mapPacketRings(fd: number, length: number): number;
  /**
   * An external ArrayBuffer over [offset, offset + length) of a region, no copy. It is detached (length 0,
   * reads give undefined) when the region is unmapped. length <= 1 GiB.
   */
  viewRegion(region: number, offset: number, length: number): ArrayBuffer;
  /**
   * [0]: how many views this thread has made since it was last set to 0. Of each one Node keeps some hundred bytes, also when it is gone, until
   * the thread returns to its event loop (node_buffer.cc leaves the rest of the work to a native immediate).
   */
  readonly views: Int32Array;
  /** Detaches every view of the region and unmaps it. The handle is free afterwards. */
  unmapRegion(region: number): void;
  /**
   * How many regions of this process have been hit by SIGBUS (their file shrank under us) so far. Faulting pages are
   * replaced by zero pages, so the access that faulted goes on. Cheap enough for every turn: reads one cell.
   */
  readonly faults: Int32Array; // [0] = count, written by the signal handler
  /** Region handles of this thread that faulted and were not reported before; empty when none. */
  takeFaultedRegions(): number[];

  // --- clock ------------------------------------------------------------------------------------
  /** This thread's clock as `readClock` last wrote it: milliseconds of CLOCK_MONOTONIC. */
  readonly clock: Float64Array;
  /** Reads the clock into `clock[0]`. Returns nothing, so that a loop that always asks leaves no garbage. */
  readClock(): void;
  /** Milliseconds of a processor that this thread has had, as `readWorked` last wrote it (CLOCK_THREAD_CPUTIME_ID). */
  readonly worked: Float64Array;
  /** Reads it into `worked[0]`; as `readClock`. */
  readWorked(): void;

  // --- base storage and copies ---------------------------------------------------------------
  /**
   * Allocates the arena of this thread (anonymous, page-aligned, MADV_HUGEPAGE, MADV_DONTDUMP) and a copy list of `rows` rows.
   * May be called once per thread. Both live until the thread ends.
   */
  createArena(bytes: number, rows: number): { arena: ArrayBuffer; rows: ArrayBuffer };
  /**
   * Carries out rows [0, count): region → arena. Re-checks every row (handle mapped by this thread, offset and length
   * inside the region, arena range inside the arena); a refused row is not copied, its `length` becomes -1
   * and its bytes in the arena zeros.
   * Returns the number of refused rows (0 unless we have a bug). Prefetches ahead.
   */
  gatherCopies(count: number): number;
  /** The same, arena → region. */
  deliverCopies(count: number): number;
  /**
   * Sums over `count` ranges of the arena (RFC 1071). Of each, `ranges` has the byte offset and the length (65,536 at most); the sum takes the
   * offset's place, folded, as `wire/checksum.ts` has it. A range that is not inside the arena gets -1; returns how many did.
   */
  sumRanges(ranges: Int32Array, count: number): number;

  // --- notification ---------------------------------------------------------------------------
  /** A new eventfd, non-blocking, close-on-exec. */
  eventfd(): number;
  /**
   * Adds 1 to an eventfd; a full counter is as good as signalled. False when it is no eventfd; never throws. Never blocks,
   * whatever flags and count a front-end gave it (see native/bells.h).
   */
  signal(fd: number): boolean;
  /** Signals fds[0..count) in one call, what can't be signalled left out; returns the microseconds that it took. */
  signalAll(fds: Int32Array, count: number): number;
  /** Reads and so clears an eventfd; its count, or 0. */
  drain(fd: number): number;

  // --- waiting --------------------------------------------------------------------------------
  /** A new epoll instance; `events` receives pairs [token, epoll event bits] of ready descriptors. */
  createWaiter(maxEvents: number): Waiter;

  // --- Unix sockets with descriptors ----------------------------------------------------------
  /**
   * Binds and listens on a new stream socket (non-blocking, close-on-exec). The file gets `mode` before it becomes visible
   * (fchmod before bind). Throws EADDRINUSE when the path exists: stale files are the caller's business.
   */
  unixListen(path: string, mode: number, backlog: number): number;
  /** Connects (non-blocking, close-on-exec); throws ENOENT, ECONNREFUSED, EACCES, EAGAIN (backlog full). */
  unixConnect(path: string): number;
  /** Accepts one connection, or -1 when none waits (EAGAIN), or -errno (EMFILE, ECONNABORTED, …). */
  unixAccept(fd: number): number;
  /** SO_PEERCRED: the process and user at the other end of a Unix socket, as they were when it connected or listened. */
  peerCredentials(fd: number): PeerCredentials;
  /** Takes a socket's pending error (SO_ERROR), which a waiter reports until somebody does: 0 or -errno. Of any kind of socket. */
  socketError(fd: number): number;
  /** What somebody's socket is; throws ENOTSOCK, EBADF. */
  socketKind(fd: number): SocketKind;
  /**
   * recvmsg into bytes[at, at + length). Descriptors that came along are put into fds[1..], their number into fds[0] (fds
   * holds 1 + up to 253); all close-on-exec, all the caller's. Returns bytes > 0, 0 at end of stream, -errno (-11: nothing to
   * read). What can't be had whole is lost, and the descriptors that came are closed: -EMFILE (-24) when the kernel could not give us
   * all of them (MSG_CTRUNC), -EMSGSIZE (-90) when they are more than fds holds or a datagram is longer than `length` (MSG_TRUNC).
   */
  receive(fd: number, bytes: Uint8Array, at: number, length: number, fds: Int32Array): number;
  /** sendmsg with MSG_NOSIGNAL and fds[0..fdCount); bytes sent or -errno (-11: full). The descriptors stay the caller's. */
  send(
    fd: number,
    bytes: Uint8Array,
    at: number,
    length: number,
    fds: Int32Array | null,
    fdCount: number,
  ): number;
  /** Closes; EBADF throws, everything else is ignored. */
  closeDescriptor(fd: number): void;
  /**
   * Closes a descriptor that a peer passed, and never waits: what is no small shared memory is closed by another thread (see
   * native/passed.h), one for each `owner`, an integer >= 0.
   */
  closePassed(fd: number, owner: number): void;
  /** Shuts a connection down, which its peer sees at once, and closes it; never waits, whatever lies in its queue. */
  closeConnection(fd: number, owner: number): void;
  /** How many descriptors of `owner` are still being closed beyond the 512 eventfds, and mappings unmapped beyond the 1,024, that are usual. */
  closing(owner: number): number;
  /** Bytes of address space that `owner` shared and that wait to be unmapped. */
  unmapping(owner: number): number;
  /** On tmpfs or hugetlbfs. Never waits: no file system is asked. */
  isSharedMemory(fd: number): boolean;
  /** Made by eventfd(2). Asks /proc: where that is not mounted nothing is one. */
  isEventfd(fd: number): boolean;
  /** dup with close-on-exec. */
  duplicate(fd: number): number;
  /** Sets O_NONBLOCK, for all who share the open file. */
  setNonBlocking(fd: number): void;

  // --- packet sockets ---------------------------------------------------------------------------
  /**
   * AF_PACKET/SOCK_RAW, TPACKET_V3, PACKET_VNET_HDR (12 bytes through PACKET_VNET_HDR_SZ where the kernel has it),
   * PACKET_IGNORE_OUTGOING, PACKET_LOSS off, both rings, bound to the interface for ETH_P_ALL. What the interface gets for others is filtered
   * out in the kernel, and so is the host's own where there is a `unicast`. The receive ring's blocks are blank: bytes
   * of 0xff behind their headers. Needs CAP_NET_RAW: throws EPERM otherwise.
   */
  packetOpen(options: PacketOptions): PacketSocket;
  /**
   * A packet socket whose TPACKET_V2 receive ring has one frame, in which the kernel writes one byte of what arrives for us
   * when the frame is its own, and then says that the socket is readable. `mapBytes`: to map from offset 0. `unicast`: heard while
   * the socket of the rings has asked for it. `socket`, and who owns what: as with `packetOpen`; so the errors.
   */
  packetDoorbell(
    interfaceIndex: number,
    unicast: Uint8Array | null,
    socket?: number,
  ): { fd: number; mapBytes: number };
  /** A packet socket without rings that receives nothing: what `packetOpen` and `packetDoorbell` take as `socket`. Needs CAP_NET_RAW. */
  packetSocket(): number;
  /**
   * Closes a socket of `packetOpen` or `packetDoorbell`, its rings unmapped before. The socket receives nothing more and holds no memory,
   * even where other descriptors of it stay open. `interfaceIndex` and `unicast`: as it was bound last; a doorbell asked for no `unicast`: null.
   */
  packetClose(fd: number, interfaceIndex: number, unicast: Uint8Array | null): void;
  /** Asks the kernel to send what the transmit ring holds; 0, or -errno (ENETDOWN, ENXIO, ENOBUFS, EAGAIN). Never blocks. */
  packetSend(fd: number): number;
  /** PACKET_STATISTICS since the last call: [packets, drops]; the dropped ones are counted in both. */
  packetStatistics(fd: number): [number, number];
  /**
   * Index, kind of hardware (ARPHRD_), its address, MTU, IFF_ flags and whether it takes long UDP frames, by name or alternative
   * name, of this thread's network namespace; throws ENODEV.
   */
  interfaceInfo(name: string): InterfaceInfo;
  /** An rtnetlink socket joined to RTMGRP_LINK, non-blocking: read it with `receive`. */
  netlinkOpen(): number;

  // --- the process ---------------------------------------------------------------------------------
  /**
   * Replaces this process by `program` (execve), without ambient capabilities; `descriptors` (-1: none) stay open there. The
   * other threads are gone. Returns only by throwing.
   */
  executeWithout(
    program: string,
    words: string[],
    environment: string[],
    descriptors: Int32Array,
  ): never;
  /**
   * sched_setaffinity: a thread of this process, by its number (0: the calling one), runs on these cores only, each from 0 to 8191. Throws ESRCH when
   * the process has no such thread, EINVAL when the process may use none of the cores.
   */
  setCores(thread: number, cores: Int32Array): void;
  /** PR_SET_DUMPABLE: false keeps the process's own user from tracing it, and core files from being written. */
  setDumpable(on: boolean): void;

  /** memfd_create (allow sealing when asked) of `bytes` bytes: what several turn workers share, and in tests a guest's memory. */
  memfd(name: string, bytes: number, sealable: boolean): number;

  // --- for tests: the front-end's side -----------------------------------------------------------
  /** A connected pair of stream sockets, both the caller's. */
  unixPair(): [number, number];
  /** ftruncate; 0 or -errno. */
  truncate(fd: number, bytes: number): number;
}

export interface Waiter {
  /** Int32Array of 2 * maxEvents: token, events (EPOLLIN 1, EPOLLOUT 4, EPOLLERR 8, EPOLLHUP 16). */
  readonly events: Int32Array;
  /** Watches a descriptor. `edge` (EPOLLET) needs no read to clear: right for kick eventfds, which are then never read. */
  add(fd: number, token: number, events: number, edge: boolean): void;
  /** Other events, or another token, for a descriptor that is watched; throws ENOENT when it is not. */
  modify(fd: number, token: number, events: number, edge: boolean): void;
  /** Stops watching; ignores a descriptor that isn't watched. Call before closing it. */
  remove(fd: number): void;
  /** Blocks up to `microseconds` (-1: for ever, 0: only looks); the number of ready descriptors. EINTR gives 0. */
  wait(microseconds: number): number;
  /** Closes the epoll instance; the descriptors that were watched stay open. */
  close(): void;
}

const addonPath = fileURLToPath(new URL('../build/Release/basewire.node', import.meta.url));

/** What to do where the addon can't be loaded, by the loader's reason. */
export function remedyFor(reason: string): string {
  return /failed to map|allocate memory/.test(reason)
    ? 'give it more address space (ulimit -v, or LimitAS= of its unit)'
    : 'run "npm run build", which needs a C++ compiler, make and python3';
}

function load(): Native {
  try {
    // A copy: an object that an addon has filled is a hash table for V8, and each use of it a look-up.
    return { ...(createRequire(import.meta.url)(addonPath) as Native) };
  } catch (error) {
    const [reason] = (error as Error).message.split('\n');
    throw new CommandError(`the native addon can't be loaded (${reason}): ${remedyFor(reason!)}`);
  }
}

export const native: Native = load();
