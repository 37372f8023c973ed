/**
 * An adapter on one end of a real veth pair, and the LAN on the other: for scenarios that run in a network namespace of their own.
 * What the daemon's main thread (opening the socket) and the turn do around an adapter is done here in the plainest way.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import { Adapter } from '../../../src/adapter/adapter.ts';
import { LinkWatch } from '../../../src/adapter/link-watch.ts';
import { ENETDOWN } from '../../../src/errno.ts';
import { ReceiveRing } from '../../../src/adapter/receive-ring.ts';
import { isUp } from '../../../src/adapter/rtnetlink.ts';
import { TransmitRing } from '../../../src/adapter/transmit-ring.ts';
import { Outbox } from '../../../src/storage/outbox.ts';
import { Watcher } from '../../../src/watcher.ts';
import { Counters } from '../../../src/counters.ts';
import { native } from '../../../src/native.ts';
import { cellOf, CONSUMED, HELD, isDrop } from '../../../src/routing/verdict.ts';
import { BaseStorage, HEADER_BYTES } from '../../../src/storage/base-storage.ts';
import { CopyList } from '../../../src/storage/copy-list.ts';
import { keyOf } from '../../../src/wire/ipv4-address.ts';
import { macText, parseMac } from '../../../src/wire/mac.ts';
import { decodeNetHeader, encodeNetHeader, type NetHeader } from '../../support/net-header.ts';
import { macBytes, type Parsed, parse } from '../../support/packets.ts';
import { until } from '../../support/until.ts';

export const VM = '10.77.0.11';
export const BASE = '10.77.0.1';
export const NEIGHBOUR = '10.77.0.200';
export const NEIGHBOUR_MAC = '02:00:00:00:02:00';
/** Ports: one VM, then the adapter, then the other end of the cable. */
export const VM_PORT = 0;
export const ADAPTER_PORT = 1;
const LAN_PORT = 2;

const RINGS = {
  blockBytes: 1 << 18,
  blocks: 8,
  retireMilliseconds: 1,
  frameBytes: 69_632,
  frames: 32,
  unicast: null as Uint8Array | null,
};

export interface Frame {
  header: NetHeader;
  bytes: Buffer;
  parsed: Parsed;
}

export interface BenchOptions {
  mac?: string;
  coupleUdp?: boolean | 'auto';
  rings?: Partial<typeof RINGS>;
}

export function ip(...words: string[]): void {
  execFileSync('ip', words, { stdio: 'pipe' });
}

export function tc(...words: string[]): void {
  execFileSync('tc', words, { stdio: 'pipe' });
}

/** A veth pair, bw0 the adapter's interface and bw1 the LAN's end, both up, on which nobody else speaks. */
export function plug(): void {
  for (const which of ['all', 'default']) {
    const setting = `/proc/sys/net/ipv6/conf/${which}/disable_ipv6`;
    if (existsSync(setting)) writeFileSync(setting, '1');
  }
  const peer = ['peer', 'name', 'bw1', 'address', NEIGHBOUR_MAC];
  ip('link', 'add', 'bw0', 'type', 'veth', ...peer);
  ip('link', 'set', 'bw0', 'up');
  ip('link', 'set', 'bw1', 'up');
}

/** Takes every interface that a scenario may have left away; with one end of a cable goes the other. */
export function unplug(): void {
  for (const name of ['bw0', 'bw1', 'elsewhere', 'hidden']) {
    try {
      native.interfaceInfo(name);
    } catch {
      continue; // not there
    }
    ip('link', 'del', name);
  }
}

const { arena, rows } = native.createArena(8 << 20, 8192);

export class Bench {
  readonly storage = new BaseStorage(arena, 8 << 20, 4096);
  readonly copies = new CopyList(native, rows);
  readonly counters = new Counters(3);
  readonly outbox = new Outbox(this.counters);
  readonly watcher = new Watcher(native);
  readonly adapter: Adapter;
  readonly lan: Lan;
  readonly received: Frame[] = [];
  readonly log: string[] = [];
  /** Added to the clock: time passes as tests want it to. */
  skew = 0;
  private readonly time = new Float64Array(1);
  refusals: string[] = [];
  /** What waited for a neighbour in vain and is to be reported. */
  readonly unreached: { from: number; packet: Uint8Array }[] = [];
  private readonly options: BenchOptions;
  private readonly links: LinkWatch;

  constructor(options: BenchOptions = {}) {
    this.options = options;
    this.adapter = new Adapter({
      native,
      storage: this.storage,
      copies: this.copies,
      counters: this.counters,
      outbox: this.outbox,
      watcher: this.watcher,
      port: ADAPTER_PORT,
      senders: ADAPTER_PORT + 1,
      plan: {
        name: 'uplink',
        interface: 'bw0',
        network: 0,
        controllers: [0],
        nextHop: null,
        mac: options.mac ?? null,
        leaseSeconds: 10,
        onControllerLoss: 'keep',
        coupleUdp: options.coupleUdp ?? false,
      },
      network: {
        name: 'lan',
        subnet: '10.77.0.0',
        prefix: 24,
        address: BASE,
        mac: '02:00:0a:4d:00:01',
        mtu: 1500,
        packed: false,
      },
      addresses: {
        owner: (key) => (key === keyOf(VM) ? VM_PORT : -1),
        ownedKeys: () => [keyOf(VM)],
      },
      now: () => this.now(),
      time: this.time,
      log: (level, message) => this.log.push(`${level}: ${message}`),
      unreached: (from, packet) => this.unreached.push({ from, packet }),
      requestOpen: () => setImmediate(() => this.openSocket()),
      due: () => {},
      onChange: () => {},
    });
    this.links = new LinkWatch(native, this.watcher, [this.adapter]);
    this.lan = new Lan(this);
  }

  now(): number {
    return performance.now() + this.skew;
  }

  /** What the main thread does. */
  private openSocket(): void {
    try {
      const info = native.interfaceInfo('bw0');
      const unicast = this.options.mac === undefined ? null : parseMac(this.options.mac);
      const options = { ...RINGS, ...this.options.rings, unicast, interfaceIndex: info.index };
      this.adapter.attach({
        doorbell: native.packetDoorbell(info.index, unicast),
        ...native.packetOpen(options),
        interfaceIndex: info.index,
        mac: this.options.mac ?? macText(info.mac),
        mtu: info.mtu,
        up: isUp(info.flags),
        coupleUdp: this.options.coupleUdp ?? false,
        takesLongUdp: info.takesLongUdp,
      });
    } catch (error) {
      this.refusals.push((error as Error).message);
      this.adapter.refused((error as Error).message);
    }
  }

  /** Opens it and waits until it is. */
  async open(): Promise<void> {
    this.adapter.open();
    await this.until('the adapter is open', () => this.adapter.state === 'open');
  }

  /** One turn: everything in, everything out. */
  turn(budget = 4096): void {
    const { storage, copies, adapter, outbox } = this;
    this.watcher.wait(0);
    this.time[0] = this.now();
    storage.clear();
    outbox.moveTo(storage);
    const first = storage.count;
    adapter.gather(budget, 1 << 30);
    copies.gather();
    adapter.release();
    const end = storage.count;
    for (let slot = first; slot < end; slot++) this.route(slot);
    for (let slot = 0; slot < storage.count; slot++) {
      if (storage.to[slot] === ADAPTER_PORT) adapter.put(slot);
    }
    copies.deliver();
    adapter.publish();
    adapter.tick(this.now());
  }

  private route(slot: number): void {
    const at = this.storage.at[slot];
    this.storage.to[slot] = CONSUMED;
    if (this.storage.halves[(at + 12) >> 1] === 0x0608) {
      this.storage.to[slot] = this.adapter.receiveArp(slot);
    } else {
      this.received.push(frameOf(this.storage, slot));
    }
  }

  /**
   * Sends datagrams of the VM to `nextHop`, with a header of their own each or all with the same; 0, HELD or a drop cell, as `resolve` and then
   * `put` said, for each.
   */
  send(
    frames: Uint8Array[],
    nextHop = NEIGHBOUR,
    header: Partial<NetHeader> | Partial<NetHeader>[] = {},
    from = VM_PORT,
  ): number[] {
    const { storage, copies, adapter } = this;
    storage.clear();
    const results: number[] = [];
    for (const [index, frame] of frames.entries()) {
      const slot = fill(storage, from, frame, Array.isArray(header) ? header[index] : header);
      const verdict = adapter.resolve(slot, keyOf(nextHop));
      if (verdict === adapter.port) results.push(adapter.put(slot));
      else results.push(isDrop(verdict) ? cellOf(verdict) : verdict);
    }
    copies.deliver();
    adapter.publish();
    return results;
  }

  /** Makes the neighbour known. */
  async meet(frame: Uint8Array): Promise<void> {
    if (this.send([frame])[0] !== HELD) throw new Error('the neighbour is known already');
    await this.lan.until('a question for the neighbour', (seen) => seen.parsed.arp !== undefined);
    this.lan.answer();
    await this.lan.until('the frame that waited', (seen) =>
      seen.bytes.subarray(14).equals(frame.subarray(14)),
    );
    this.lan.seen.length = 0;
  }

  /** Something wakes the base within seconds. A wait that a signal ends (a child that ended, for instance) is none. */
  woken(message: string): void {
    const end = performance.now() + 5000;
    while (this.watcher.wait(5_000_000) === 0) assert.ok(performance.now() < end, message);
  }

  /** Nothing wakes the base for some milliseconds, twice. */
  quiet(): boolean {
    return this.watcher.wait(10_000) === 0 && this.watcher.wait(10_000) === 0;
  }

  /** Turns until `look` is true. */
  until(what: string, look: () => boolean): Promise<boolean> {
    return until(what, () => {
      this.turn();
      return look();
    });
  }

  close(): void {
    this.adapter.close('the test is over');
    this.links.close();
    this.lan.close();
    this.watcher.close();
  }
}

/** The other end of the cable: a packet socket that sends and sees whole frames. */
export class Lan {
  readonly seen: Frame[] = [];
  private readonly bench: Bench;
  private readonly fd: number;
  private readonly region: number;
  private readonly receiveRing: ReceiveRing;
  private readonly transmitRing: TransmitRing;

  constructor(bench: Bench) {
    this.bench = bench;
    const { index } = native.interfaceInfo('bw1');
    const { fd, receive, transmit, mapBytes, headerBytes } = native.packetOpen({
      ...RINGS,
      // One for each frame of a scenario, if need be: nothing is lost while this process waits for a core.
      blocks: 40,
      interfaceIndex: index,
    });
    this.fd = fd;
    this.region = native.mapPacketRings(fd, mapBytes);
    const ring = native.viewRegion(this.region, 0, mapBytes);
    const { storage, copies, counters } = bench;
    this.receiveRing = new ReceiveRing(
      ring,
      this.region,
      receive,
      LAN_PORT,
      storage,
      copies,
      counters,
    );
    this.transmitRing = new TransmitRing(
      native,
      fd,
      ring,
      this.region,
      receive.blockBytes * receive.blocks,
      transmit,
      headerBytes,
      storage,
      copies,
      LAN_PORT + 1,
    );
  }

  send(frames: Uint8Array[], header: Partial<NetHeader> = {}): void {
    const { storage, copies } = this.bench;
    storage.clear();
    for (const frame of frames) {
      if (this.transmitRing.put(fill(storage, LAN_PORT, frame, header)) !== 0) {
        throw new Error('the LAN’s transmit ring is full');
      }
    }
    copies.deliver();
    let result = this.transmitRing.publish();
    // The socket tells once that its interface was down.
    if (result === ENETDOWN) result = this.transmitRing.publish();
    if (result !== 0) throw new Error(`the LAN can't send: ${result}`);
  }

  /** Tells the adapter that the neighbour is at `mac`. */
  answer(mac = NEIGHBOUR_MAC): void {
    this.send([arpFrame(2, mac, NEIGHBOUR, macText(this.bench.adapter.mac), BASE)]);
  }

  /** Takes what came since. */
  poll(): void {
    const { storage, copies } = this.bench;
    storage.clear();
    this.receiveRing.gather(4096, 1 << 30);
    copies.gather();
    this.receiveRing.release();
    for (let slot = 0; slot < storage.count; slot++) {
      const frame = frameOf(storage, slot);
      if (frame.parsed.type !== 0x86dd) this.seen.push(frame); // the host's own neighbour discovery
    }
  }

  /** Turns and polls until a frame fits; the frame. */
  async until(what: string, fits: (frame: Frame) => boolean): Promise<Frame> {
    return await until(what, () => {
      this.bench.turn();
      this.poll();
      return this.seen.find(fits);
    });
  }

  close(): void {
    native.unmapRegion(this.region);
    native.closeDescriptor(this.fd);
  }
}

export function arpFrame(
  operation: number,
  senderMac: string,
  senderIp: string,
  targetMac: string,
  targetIp: string,
): Buffer {
  const head = Buffer.from([0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, operation]);
  const group = operation === 1;
  return Buffer.concat([
    macBytes(group ? 'ff:ff:ff:ff:ff:ff' : targetMac),
    macBytes(senderMac),
    head,
    macBytes(senderMac),
    Buffer.from(senderIp.split('.').map(Number)),
    macBytes(group ? '00:00:00:00:00:00' : targetMac),
    Buffer.from(targetIp.split('.').map(Number)),
  ]);
}

function fill(
  storage: BaseStorage,
  from: number,
  frame: Uint8Array,
  header: Partial<NetHeader>,
): number {
  const slot = storage.take(from, frame.length);
  if (slot < 0) throw new Error('storage full');
  storage.bytes.set(frame, storage.at[slot]);
  storage.bytes.set(encodeNetHeader(header, 12), storage.at[slot] - HEADER_BYTES);
  return slot;
}

function frameOf(storage: BaseStorage, slot: number): Frame {
  const at = storage.at[slot];
  const bytes = Buffer.from(storage.bytes.slice(at, at + storage.length[slot]));
  const header = Buffer.from(storage.bytes.slice(at - HEADER_BYTES, at));
  return { bytes, header: decodeNetHeader(header, 12), parsed: parse(bytes) };
}
