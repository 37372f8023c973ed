/**
 * Four VMs, each of which sends to one other and keeps so many datagrams under way: this process plays them all. Prints how many arrived in how
 * many seconds, first of a moment, then of the measurement, and goes on until it is ended.
 */
import { ETHERTYPE, ethernet, ipv4, PROTOCOL, udp } from '../../test/support/packets.ts';
import { Vm } from '../../test/support/vm.ts';
import { argument, result } from './probe.ts';
import { Sender, Taker } from './static-rings.ts';

export interface Argument {
  sockets: string[];
  ports: { mac: string; address: string }[];
  baseMac: string;
  /** Bytes of a frame. */
  bytes: number;
  /** To whom each sends. */
  to: number[];
  /** Datagrams under way from each. */
  window: number;
  warmup: number;
  seconds: number;
}

export interface Reading {
  arrived: number;
  /** Did not arrive: the base dropped them. */
  lost: number;
  seconds: number;
}

const RING = 1024;
const HEADERS = 42;
/** Between two looks at the clock. */
const ROUNDS = 64;
/** Milliseconds without an arrival after which what is under way counts as lost. */
const GIVE_UP = 1000;

const wanted = argument<Argument>();
const vms = await Promise.all(
  wanted.sockets.map((socket) => Vm.start(socket, { queueSize: RING, memory: memory() })),
);
const senders = vms.map((vm) => new Sender(vm));
const takers = vms.map((vm) => new Taker(vm));
wanted.to.forEach((to, from) => {
  senders[from]!.set(frame(from, to));
});
/** Of each sender. */
const lost = senders.map(() => 0);

/** Room for two rings of 2 KiB buffers. */
function memory() {
  return { regions: [{ guestAddress: 0, bytes: 16 << 20 }] };
}

function frame(from: number, to: number): Buffer {
  const [source, destination] = [wanted.ports[from]!, wanted.ports[to]!];
  const addresses = { source: source.address, destination: destination.address };
  const datagram = udp(
    { ...addresses, sourcePort: 9, destinationPort: 9 },
    Buffer.alloc(wanted.bytes - HEADERS),
  );
  const packet = ipv4({ ...addresses, protocol: PROTOCOL.udp }, datagram);
  return ethernet(
    { source: source.mac, destination: wanted.baseMac, type: ETHERTYPE.ipv4 },
    packet,
  );
}

/** Everything at once for so many seconds. */
function run(seconds: number): Reading {
  const start = performance.now();
  let arrived = 0;
  let given = 0;
  let now = start;
  let lastArrival = start;
  while (now - start < seconds * 1000) {
    const before = arrived;
    for (let round = 0; round < ROUNDS; round++) {
      for (let from = 0; from < senders.length; from++) {
        const sender = senders[from]!;
        const taker = takers[wanted.to[from]!]!;
        arrived += taker.take();
        const underway = sender.offered - taker.taken - lost[from]!;
        sender.offer(Math.min(sender.room, wanted.window - underway));
      }
    }
    now = performance.now();
    if (arrived !== before) lastArrival = now;
    else if (now - lastArrival > GIVE_UP) {
      lastArrival = now;
      for (let from = 0; from < senders.length; from++) {
        const underway = senders[from]!.offered - takers[wanted.to[from]!]!.taken - lost[from]!;
        lost[from]! += underway;
        given += underway;
      }
    }
  }
  return { arrived, lost: given, seconds: (now - start) / 1000 };
}

run(wanted.warmup);
result(run(0.01)); // that it begins
result(run(wanted.seconds));
// So that the reader's last look at processor time is of the same load.
run(3600);
