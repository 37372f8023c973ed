/**
 * Round trips of a single datagram between two VMs, both played by this process: A sends, B sends it back, A has it. The guest's side
 * polls (it is what is measured *with*); the switch is kicked exactly when it asks to be.
 */
import { native } from '../../src/native.ts';
import { asSplit, type SplitQueue } from '../../test/support/driver-split.ts';
import { ethernet, ETHERTYPE, ipv4, PROTOCOL, udp } from '../../test/support/packets.ts';
import { pause } from '../../test/support/until.ts';
import { Vm } from '../../test/support/vm.ts';
import { roundTrips } from '../lib/statistics.ts';
import { argument, result } from './probe.ts';

interface Argument {
  sockets: [string, string];
  ports: [{ mac: string; address: string }, { mac: string; address: string }];
  baseMac: string;
  bytes: number;
  warmup: number;
  trips: number;
  /** Microseconds of silence between two round trips. */
  gap: number;
}

const HEADER = 12;
const GIVE_UP = 200; // milliseconds for one round trip

/** One VM's two rings with one static datagram to send; nothing is allocated per round trip. */
class End {
  private readonly transmit: SplitQueue;
  private readonly receive: SplitQueue;
  private readonly availableOut: Uint16Array;
  private readonly availableIn: Uint16Array;
  private readonly usedIn: Uint16Array;
  private readonly availEventOut: Uint16Array;
  private readonly usedFlagsOut: Uint16Array;
  private readonly usedWordsIn: Uint32Array;
  private readonly availableRingIn: Uint16Array;
  private sent: number;
  private taken = 0;
  private posted: number;

  constructor(vm: Vm, frame: Uint8Array) {
    const { memory } = vm;
    this.transmit = asSplit(vm.transmitQueue());
    this.receive = asSplit(vm.receiveQueue());
    const data = Buffer.concat([Buffer.alloc(HEADER), frame]);
    this.transmit.add([{ data }]); // its head stands in slot 0 of the available ring; the others repeat it
    const head = memory.bytes(this.transmit.availableAt + 4, 2).readUInt16LE(0);
    for (let slot = 0; slot < this.transmit.size; slot++) this.transmit.writeAvailable(slot, head);
    this.sent = 0;
    this.posted = this.receive.next;
    this.availableOut = memory.cell(this.transmit.availableAt + 2);
    this.availableIn = memory.cell(this.receive.availableAt + 2);
    this.usedIn = memory.cell(this.receive.usedAt + 2);
    this.availEventOut = memory.cell(this.transmit.usedAt + 4 + 8 * this.transmit.size);
    this.usedFlagsOut = memory.cell(this.transmit.usedAt);
    const used = memory.bytes(this.receive.usedAt + 4, 8 * this.receive.size);
    this.usedWordsIn = new Uint32Array(used.buffer, used.byteOffset, 2 * this.receive.size);
    const ring = memory.bytes(this.receive.availableAt + 4, 2 * this.receive.size);
    this.availableRingIn = new Uint16Array(ring.buffer, ring.byteOffset, this.receive.size);
    this.receive.usedEvent = 0x8000; // polls: wants no interrupts
  }

  send(): void {
    const old = this.sent;
    this.sent = (old + 1) & 0xffff;
    Atomics.store(this.availableOut, 0, this.sent);
    const wanted = this.transmit.eventIndex
      ? Atomics.load(this.availEventOut, 0) === old
      : (Atomics.load(this.usedFlagsOut, 0) & 1) === 0;
    if (wanted) {
      this.transmit.kicks++;
      native.signal(this.transmit.kickDescriptor);
    }
  }

  /** Takes one datagram if there is one, and offers its buffer again. */
  take(): boolean {
    if (Atomics.load(this.usedIn, 0) === this.taken) return false;
    const mask = this.receive.size - 1;
    this.availableRingIn[this.posted & mask] = this.usedWordsIn[(this.taken & mask) * 2]!;
    this.taken = (this.taken + 1) & 0xffff;
    this.posted = (this.posted + 1) & 0xffff;
    Atomics.store(this.availableIn, 0, this.posted);
    return true;
  }

  get kicks(): number {
    return this.transmit.kicks;
  }
}

const wanted = argument<Argument>();

function frame(from: 0 | 1): Buffer {
  const [source, destination] = [wanted.ports[from], wanted.ports[from === 0 ? 1 : 0]];
  const addresses = { source: source.address, destination: destination.address };
  const datagram = udp(
    { ...addresses, sourcePort: 9, destinationPort: 9 },
    Buffer.alloc(wanted.bytes - 42),
  );
  const packet = ipv4({ ...addresses, protocol: PROTOCOL.udp }, datagram);
  return ethernet(
    { source: source.mac, destination: wanted.baseMac, type: ETHERTYPE.ipv4 },
    packet,
  );
}

const vms = await Promise.all(wanted.sockets.map((socket) => Vm.start(socket)));
const [a, b] = [new End(vms[0]!, frame(0)), new End(vms[1]!, frame(1))];

/** One round trip in microseconds; NaN when the datagram is lost. */
function trip(): number {
  const start = performance.now();
  a.send();
  while (!b.take()) if (performance.now() - start > GIVE_UP) return Number.NaN;
  b.send();
  while (!a.take()) if (performance.now() - start > GIVE_UP) return Number.NaN;
  return (performance.now() - start) * 1000;
}

function rest(microseconds: number): void {
  const end = performance.now() + microseconds / 1000;
  while (performance.now() < end);
}

let first = Number.NaN;
// Rings may start a little later; a switch's other threads may need our core for that.
for (let attempt = 0; attempt < 50 && Number.isNaN(first); attempt++) {
  await pause(500);
  first = trip();
}
if (Number.isNaN(first)) throw new Error('no datagram came back');
for (let count = 0; count < wanted.warmup; count++) trip();
const [kicksBefore, times] = [a.kicks + b.kicks, new Float64Array(wanted.trips)];
let lost = 0;
for (let count = 0; count < wanted.trips; count++) {
  if (wanted.gap > 0) rest(wanted.gap);
  times[count] = trip();
  if (Number.isNaN(times[count]!)) lost++;
}
result({
  ...roundTrips(times, GIVE_UP * 1000),
  lost,
  kicks: (a.kicks + b.kicks - kicksBefore) / wanted.trips,
});
for (const vm of vms) vm.close();
