/**
 * A third VM that floods with the others and meanwhile asks its back-end what QEMU asks while the whole machine waits:
 * GET_FEATURES and, with its own rings full of work, GET_VRING_BASE. Sleeps while it waits, as QEMU does.
 */
import { native } from '../../src/native.ts';
import { encodeMessage } from '../../test/support/frontend.ts';
import { ethernet, ETHERTYPE, ipv4, PROTOCOL, udp } from '../../test/support/packets.ts';
import { REQUEST, vringState } from '../../test/support/protocol.ts';
import { Vm } from '../../test/support/vm.ts';
import { argument, comeFirst, result } from './probe.ts';
import { Sender, Taker } from './static-rings.ts';

const wanted = argument<{
  socket: string;
  mac: string;
  address: string;
  destination: string;
  baseMac: string;
  seconds: number;
  /** Before the generator, on its core. */
  first: boolean;
  /** Replies of each request that count as those of a base that has just started. */
  young: number;
}>();

const vm = await Vm.start(wanted.socket);
const addresses = { source: wanted.address, destination: wanted.destination };
const payload = udp({ ...addresses, sourcePort: 9, destinationPort: 9 }, Buffer.alloc(22));
const packet = ipv4({ ...addresses, protocol: PROTOCOL.udp }, payload);
const frame = ethernet(
  { source: wanted.mac, destination: wanted.baseMac, type: ETHERTYPE.ipv4 },
  packet,
);
const waiter = native.createWaiter(1);
waiter.add(vm.frontEnd.socket, 0, 1, false);

const sender = new Sender(vm);
const taker = new Taker(vm);
sender.set(frame);

/** Fills the output buffer, so that the ring has work when it is asked. Leaves no garbage, lest its collection be counted. */
function flood(): void {
  sender.offer(sender.room);
  taker.take();
}

/** Milliseconds from a request to its whole reply. */
function ask(request: number, body?: Uint8Array): { milliseconds: number; payload: Buffer } {
  const bytes = encodeMessage(request, body);
  const start = performance.now();
  if (vm.frontEnd.trySend(bytes) !== bytes.length) throw new Error('the back-end does not read');
  for (;;) {
    waiter.wait(1_000_000);
    const now = performance.now();
    vm.frontEnd.poll();
    const reply = vm.frontEnd.take();
    if (reply !== null) return { milliseconds: now - start, payload: reply.payload };
    if (vm.frontEnd.closed) throw new Error('the back-end closed the connection');
    if (now - start > 20_000) throw new Error('no reply');
  }
}

if (wanted.first) comeFirst();

/** Times of both requests, of the first replies and of those behind them. */
const [young, grown] = [0, 1].map(() => ({ features: [] as number[], base: [] as number[] }));
const TRANSMIT = 1;
/** Microseconds. */
const PAUSE = 1000;
/** First cycles, which are not counted: neither the base's code nor ours has run before. */
const WARMUP = 10;
let end = Number.POSITIVE_INFINITY;
for (let cycle = 0; performance.now() < end; cycle++) {
  if (cycle === WARMUP) young!.features.length = young!.base.length = 0;
  if (cycle === wanted.young) end = performance.now() + wanted.seconds * 1000;
  const times = cycle < wanted.young ? young! : grown!;
  flood();
  times.features.push(ask(REQUEST.GET_FEATURES).milliseconds);
  flood();
  const answer = ask(REQUEST.GET_VRING_BASE, vringState(TRANSMIT, 0));
  times.base.push(answer.milliseconds);
  await vm.startRing(TRANSMIT, answer.payload.readUInt32LE(4));
  await vm.enable(TRANSMIT, true);
  waiter.wait(PAUSE); // the generator has this core, too
}

function describe(values: number[]) {
  const sorted = values.sort((a, b) => a - b);
  const at = (share: number) =>
    sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))];
  return { count: sorted.length, p50: at(0.5), p99: at(0.99), worst: sorted[sorted.length - 1] };
}
result({
  youngFeatures: describe(young!.features),
  youngBase: describe(young!.base),
  features: describe(grown!.features),
  base: describe(grown!.base),
});
vm.close();
