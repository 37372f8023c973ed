/**
 * A whole base in this process with many VMs, every VM's rings filled by the test before each turn: for what is counted in turns and
 * datagrams, not in time.
 */
import { expect } from 'vitest';
import { Base } from '../../src/base/base.ts';
import { Counters } from '../../src/counters.ts';
import { native } from '../../src/native.ts';
import { bitsOf, FEATURE } from '../../src/virtio/features.ts';
import { Guest, partsOf, READ_BUFFERS, WRITE_BUFFERS } from '../fuzz/guest.ts';
import { lanPlan } from './lan-plan.ts';
import { encodeNetHeader, GSO, HDR_FLAG, type NetHeader, PLAIN } from './net-header.ts';
import { type Host, tcpFrame, udpFrame } from './traffic.ts';

export const SIZE = 256;
export const BURST = 256;
const NEXT = 1;
const WRITE = 2;
const HEADER = 12;
const MODERN = [FEATURE.VERSION_1, FEATURE.PROTOCOL_FEATURES];
const FEATURES = bitsOf(MODERN);
/** Features of VMs that have TCP segmented. */
export const SEGMENTING = bitsOf([...MODERN, FEATURE.CSUM, FEATURE.HOST_TSO4]);

interface Load {
  /** Bytes of the Ethernet frame. */
  bytes: number;
  descriptors: number;
}
export const SMALL: Load = { bytes: 64, descriptors: 1 };
export const ONE_BYTE_EACH: Load = { bytes: 64, descriptors: HEADER + 64 };
export const LARGEST: Load = { bytes: 65_535, descriptors: 1 };

export const VMS = 22;

/** One base (a thread has one arena) with many VMs. VM 0 takes what the others send. */
export class Site {
  readonly counters = new Counters(VMS);
  readonly base: Base;
  readonly #guests = Array.from({ length: VMS }, (_, index) => new Guest(index));
  readonly hosts: Host[] = this.#guests.map(({ number }) => ({
    ip: `10.77.0.${10 + number}`,
    mac: `52:54:00:00:01:${(16 + number).toString(16)}`,
  }));
  #now = 1000;

  constructor() {
    const vms = this.hosts.map(({ ip, mac }) => ({ addresses: [ip], mac }));
    const plan = lanPlan(vms, { mtu: 65_535 }, { poll: 'busy', burst: BURST });
    const clock = () => this.#now;
    this.base = new Base(native, plan, this.counters.buffer, () => {}, clock);
  }

  /** All VMs come, with so many pairs of rings. Long after those before them. */
  begin(pairs: number, features = FEATURES): void {
    this.#now += 10_000;
    for (const guest of this.#guests) {
      const { port } = this.base.portControls[guest.number];
      port.attach(guest.begin(features));
      for (let ring = 0; ring < 2 * pairs; ring++) guest.start(ring, SIZE, 0, true);
      this.base.turn.activate(port);
    }
  }

  end(): void {
    for (const guest of this.#guests) {
      const { port } = this.base.portControls[guest.number];
      port.detach(guest.attachment);
      this.base.turn.forget(port);
    }
  }

  /** What a VM sends from now on, whenever it sends: datagrams for VM 0. */
  prepare(vm: number, { bytes, descriptors }: Load): void {
    const frame = udpFrame(this.hosts[vm], this.hosts[0].ip, Buffer.alloc(bytes - 42));
    this.prepareFrame(vm, frame, PLAIN, descriptors);
  }

  /** The same with any frame: a chain of `descriptors`, of one byte each but the last. */
  prepareFrame(
    vm: number,
    frame: Buffer,
    header: Partial<NetHeader> = PLAIN,
    descriptors = 1,
  ): void {
    const guest = this.#guests[vm];
    const at = READ_BUFFERS.start;
    guest.write(at, encodeNetHeader(header, HEADER));
    guest.write(at + HEADER, frame);
    for (let index = 0; index < descriptors; index++) {
      const last = index === descriptors - 1;
      const length = last ? HEADER + frame.length - index : 1;
      for (const ring of [1, 3, 5, 7]) {
        const place = partsOf(ring).descriptors + 16 * index;
        guest.descriptor(place, at + index, 0, length, last ? 0 : NEXT | ((index + 1) << 16));
      }
    }
  }

  /** TCP for VM 0, which takes no segmentation, of `data` bytes in segments of 48. The VM has SEGMENTING. */
  prepareSegments(vm: number, data: number): void {
    const payload = Buffer.alloc(data);
    const frame = tcpFrame(this.hosts[vm], this.hosts[0].ip, payload, { checksum: 'partial' });
    this.prepareFrame(vm, frame, {
      flags: HDR_FLAG.needsCsum,
      gsoType: GSO.tcpv4,
      gsoSize: 48,
      headerLength: 54,
      checksumStart: 34,
      checksumOffset: 16,
    });
  }

  /** Makes `count` more datagrams available, or as many as the ring holds. All entries name the chain at 0. */
  send(vm: number, count = SIZE, ring = 1): void {
    const { memory } = this.#guests[vm].regions[0];
    const { queue } = this.#guests[vm].attachment.ring(ring)!;
    const at = partsOf(ring).avail + 2;
    const offered = memory.readUInt16LE(at);
    const room = SIZE - ((offered - queue.nextAvail) & 0xffff);
    memory.writeUInt16LE((offered + Math.min(count, room)) & 0xffff, at);
  }

  /** What the VM received from this one in the turn. */
  turn(milliseconds = 0.01): number[] {
    this.#now += milliseconds;
    this.#offerInput();
    const before = this.#received();
    this.base.turn.time[0] = this.#now;
    const given = this.counters.get(0, 'sentBytes');
    this.base.turn.run();
    expect(this.base.turn.deliveredBytes).toBe(this.counters.get(0, 'sentBytes') - given);
    const { copies } = (this.base.turn as unknown as { context: { copies: { refused: number } } })
      .context;
    expect(copies.refused).toBe(0);
    return this.#received().map((count, vm) => count - before[vm]);
  }

  #received(): number[] {
    return this.#guests.map((_, vm) => this.counters.get(vm, 'receivedDatagrams'));
  }

  /** VM 0 offers all its input buffers, all of them the same 64 KiB. */
  #offerInput(): void {
    const guest = this.#guests[0];
    const { memory } = guest.regions[0];
    const { queue } = guest.attachment.ring(0)!;
    const { avail, descriptors } = partsOf(0);
    guest.descriptor(descriptors, WRITE_BUFFERS.start, 0, 0x10000, WRITE);
    memory.writeUInt16LE((queue.nextAvail + SIZE) & 0xffff, avail + 2);
  }
}
