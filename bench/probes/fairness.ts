/**
 * What a flooding VM costs a normal one. This process plays four VMs: a and b are normal, f floods s. It measures a to b (and back)
 * without and with each flood, in turns, so that both see the same machine.
 */
import { native } from '../../src/native.ts';
import { ETHERTYPE, ethernet, ipv4, PROTOCOL, udp } from '../../test/support/packets.ts';
import { Vm } from '../../test/support/vm.ts';
import { roundTrips } from '../lib/statistics.ts';
import { argument, result } from './probe.ts';
import { Sender, Taker } from './static-rings.ts';

/**
 * `calls` are the system calls of `kicks` for descriptors that nobody reads: this process makes them between any two things that a and b do, so what they cost
 * is no cost of the base.
 */
export type Flood = 'none' | '64 B' | '1 B descriptors' | 'calls' | 'kicks';

export interface Argument {
  /** Of a, b, f and s. */
  sockets: string[];
  ports: { mac: string; address: string }[];
  baseMac: string;
  /** Of one measurement. */
  seconds: number;
  rounds: number;
  /** One behind the other, in each round. */
  floods: readonly Flood[];
}

/** Of one flood (or none) in one round. */
export interface Reading {
  flood: Flood;
  /** Microseconds of a round trip. */
  p50: number;
  p99: number;
  trips: number;
  /** Datagrams per second offered by a and arrived at b, and of the flood that were taken. */
  offered: number;
  arrived: number;
  flooded: number;
  /** Everything that a could bring to b in this round with nobody else there, of which half was to be offered. */
  capacity: number;
}

const FRAME = 64;
const HEADER = 12;
const GIVE_UP = 200; // milliseconds for one round trip
const RING = 256;

const wanted = argument<Argument>();

function frame(from: number, to: number): Buffer {
  const [source, destination] = [wanted.ports[from]!, wanted.ports[to]!];
  const addresses = { source: source.address, destination: destination.address };
  const datagram = udp(
    { ...addresses, sourcePort: 9, destinationPort: 9 },
    Buffer.alloc(FRAME - 42),
  );
  const packet = ipv4({ ...addresses, protocol: PROTOCOL.udp }, datagram);
  return ethernet(
    { source: source.mac, destination: wanted.baseMac, type: ETHERTYPE.ipv4 },
    packet,
  );
}

const vms = await Promise.all(
  wanted.sockets.map((socket) => Vm.start(socket, { queueSize: RING })),
);
const [vmA, vmB, vmF, vmS] = vms as [Vm, Vm, Vm, Vm];
const [a, b, f] = [new Sender(vmA), new Sender(vmB), new Sender(vmF)];
const [atA, atB, atS, atF] = [new Taker(vmA), new Taker(vmB), new Taker(vmS), new Taker(vmF)];
a.set(frame(0, 1));
b.set(frame(1, 0));
let flood: Flood = 'none';
const unread = [native.eventfd(), native.eventfd()];

/** What f does between any two things that a and b do. */
function pump(): void {
  if (flood === 'none') return;
  if (flood === 'kicks') {
    f.kick();
    atF.kick();
    return;
  }
  if (flood === 'calls') {
    for (const fd of unread) native.signal(fd);
    return;
  }
  f.offer(f.room);
  atS.take();
}

/** Nothing is on its way any more; then f does something else. */
function calm(next: Flood): void {
  const senders = [a, b, f];
  const end = performance.now() + 5000;
  while (senders.some(({ room, size }) => room < size)) {
    for (const taker of [atA, atB, atS]) taker.take();
    if (performance.now() > end) throw new Error('the base takes nothing any more');
  }
  for (let quiet = performance.now(); performance.now() - quiet < 2; )
    for (const taker of [atA, atB, atS]) if (taker.take() > 0) quiet = performance.now();
  flood = next;
  if (next === 'none' || next === 'calls' || next === 'kicks') return;
  f.set(frame(2, 3), next === '64 B' ? 1 : HEADER + FRAME);
}

/** One round trip in microseconds; NaN when the datagram is lost. */
function trip(): number {
  const start = performance.now();
  for (const [from, to] of [
    [a, atB],
    [b, atA],
  ] as const) {
    if (from.room === 0) return Number.NaN;
    from.offer(1);
    while (to.take() === 0) {
      pump();
      if (performance.now() - start > GIVE_UP) return Number.NaN;
    }
  }
  return (performance.now() - start) * 1000;
}

function trips(seconds: number): { p50: number; p99: number; trips: number } {
  const times: number[] = [];
  for (const end = performance.now() + seconds * 1000; performance.now() < end; ) {
    times.push(trip());
  }
  const { p50, p99 } = roundTrips(times, GIVE_UP * 1000);
  return { p50, p99, trips: times.length };
}

/** a offers `perSecond` datagrams evenly; how many were offered and arrived in a second. */
function stream(seconds: number, perSecond: number): { offered: number; arrived: number } {
  const start = performance.now();
  const [offered, arrived] = [a.offered, atB.taken];
  let now = start;
  for (let due = 0; now - start < seconds * 1000; now = performance.now()) {
    due = Math.floor(((now - start) / 1000) * perSecond);
    a.offer(Math.min(a.room, due - (a.offered - offered)));
    atB.take();
    pump();
  }
  const passed = (now - start) / 1000;
  return { offered: (a.offered - offered) / passed, arrived: (atB.taken - arrived) / passed };
}

let first = Number.NaN;
for (let attempt = 0; attempt < 50 && Number.isNaN(first); attempt++) first = trip(); // rings may start a little later
if (Number.isNaN(first)) throw new Error('no datagram came back');
trips(wanted.seconds / 2);
calm('none');
stream(wanted.seconds / 2, 1e9);
for (let round = 0; round < wanted.rounds; round++) {
  calm('none');
  const capacity = stream(wanted.seconds / 2, 1e9).arrived;
  for (const next of wanted.floods) {
    calm(next);
    const sunk = atS.taken;
    const times = trips(wanted.seconds);
    calm(next);
    const start = performance.now();
    const rates = stream(wanted.seconds, capacity / 2);
    const flooded = (atS.taken - sunk) / (wanted.seconds + (performance.now() - start) / 1000);
    result({ flood: next, ...times, ...rates, flooded, capacity } satisfies Reading);
  }
}
for (const vm of vms) vm.close();
