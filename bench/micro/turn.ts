/**
 * Cost of a turn in this process alone, without a generator on another core: two VMs whose rings lie in our own memory, a
 * driver that only moves the avail indices. What the switch row measures beyond this is the price of sharing cache lines.
 *
 *     node --import tsx bench/micro/turn.ts [frame bytes] [batch] [seconds] [milliseconds of sleep before each turn]
 *
 * With sleeps it shows what a turn takes when the processor's caches have gone cold meanwhile.
 */
import { native } from '../../src/native.ts';
import { Base } from '../../src/base/base.ts';
import { Counters } from '../../src/counters.ts';
import { bitsOf, FEATURE } from '../../src/virtio/features.ts';
import { keyOf } from '../../src/wire/ipv4-address.ts';
import { parseMac } from '../../src/wire/mac.ts';
import * as ipv4 from '../../src/wire/ipv4.ts';
import { Attachment } from '../../src/port/attachment.ts';
import { lanPlan } from '../../test/support/lan-plan.ts';

const frameBytes = Number(process.argv[2] ?? 64);
const batch = Number(process.argv[3] ?? 128);
const seconds = Number(process.argv[4] ?? 2);
const pause = Number(process.argv[5] ?? 0);
const SIZE = 1024;
const BUFFER = 2048;
const MEMORY = 16 << 20;
const BASE_MAC = '02:00:0a:4d:00:01';
const VMS = [
  { address: '10.77.0.11', mac: '52:54:00:00:00:11' },
  { address: '10.77.0.12', mac: '52:54:00:00:00:12' },
];

const plan = lanPlan(
  VMS.map(({ address, mac }) => ({ addresses: [address], mac })),
  { mac: BASE_MAC },
  { poll: 'busy' },
);
const counters = new Counters(2);
const base = new Base(
  native,
  plan,
  counters.buffer,
  () => {},
  () => performance.now(),
);

/** One VM's memory: both rings at the front, buffers behind; returns views of the avail indices. */
function attach(number: number) {
  const fd = native.memfd(`vm${number}`, MEMORY, true);
  const handle = native.mapRegion(fd, 0, MEMORY);
  const bytes = new Uint8Array(native.viewRegion(handle, 0, MEMORY));
  const view = new DataView(bytes.buffer);
  const attachment = new Attachment(native);
  attachment.memory.add({ guest: 0, user: 0, bytes: MEMORY, handle });
  attachment.setFeatures(
    bitsOf([FEATURE.VERSION_1, FEATURE.MRG_RXBUF, FEATURE.EVENT_IDX, FEATURE.PROTOCOL_FEATURES]),
  );
  for (const index of [0, 1]) {
    const ring = attachment.ring(index)!;
    const at = index * 65536;
    for (let entry = 0; entry < SIZE; entry++) {
      const buffer = (1 << 20) + (index * SIZE + entry) * BUFFER + 116;
      view.setBigUint64(at + entry * 16, BigInt(buffer), true);
      view.setUint32(at + entry * 16 + 8, index === 0 ? BUFFER - 128 : frameBytes + 12, true);
      view.setUint16(at + entry * 16 + 12, index === 0 ? 2 : 0, true);
      view.setUint16(at + 16384 + 4 + entry * 2, entry, true);
      if (index === 1) frame(bytes, buffer + 12, number);
    }
    ring.size = SIZE;
    ring.enabled = true;
    ring.started = true;
    ring.address = { descriptors: at, avail: at + 16384, used: at + 32768, log: 0, logged: false };
    const fault = ring.queue.map(native, attachment.memory, SIZE, ring.address, 0);
    if (fault) throw new Error(fault);
    attachment.applyFeatures(ring);
  }
  attachment.refresh();
  const port = base.portControls[number].port;
  port.attach(attachment);
  base.turn.activate(port);
  return {
    input: new Uint16Array(bytes.buffer, 16384, 2),
    output: new Uint16Array(bytes.buffer, 65536 + 16384, 2),
    used: new Uint16Array(bytes.buffer, 32768, 2),
  };
}

function frame(bytes: Uint8Array, at: number, from: number): void {
  bytes.set(parseMac(BASE_MAC), at);
  bytes.set(parseMac(VMS[from].mac), at + 6);
  bytes.set([8, 0], at + 12);
  const ip = at + 14;
  bytes[ip] = 0x45;
  ipv4.setTotalLength(bytes, ip, frameBytes - 14);
  bytes[ip + 8] = 64;
  bytes[ip + 9] = 17;
  ipv4.setSource(bytes, ip, keyOf(VMS[from].address));
  ipv4.setDestination(bytes, ip, keyOf(VMS[1 - from].address));
  ipv4.writeChecksum(bytes, ip);
}

const rings = [attach(0), attach(1)];
for (const ring of rings) ring.input[1] = SIZE - 1;
let moved = 0;

/** One turn for `batch` datagrams each way; its milliseconds. */
function turn(): number {
  for (const ring of rings) {
    ring.output[1] += batch;
    ring.input[1] = ring.used[1] + SIZE - 1;
  }
  const begin = performance.now();
  base.turn.time[0] = begin;
  base.turn.run();
  moved += 2 * batch;
  return performance.now() - begin;
}

const end = performance.now() + seconds * 1000;
let best = Number.POSITIVE_INFINITY;
let mark = process.cpuUsage();
let since = 0;
let checkAt = performance.now() + 100;
while (performance.now() < end) {
  turn();
  since += 2 * batch;
  const now = performance.now();
  if (now > checkAt) {
    // Processor time, not the clock's: other processes don't count.
    const used = process.cpuUsage(mark);
    best = Math.min(best, ((used.user + used.system) * 1000) / since);
    mark = process.cpuUsage();
    since = 0;
    checkAt = now + 100;
  }
}
const cold: number[] = [];
const cell = new Int32Array(new SharedArrayBuffer(4));
while (pause > 0 && cold.length < 200) {
  Atomics.wait(cell, 0, 0, pause);
  cold.push(turn());
}
const delivered = counters.get(0, 'delivered') + counters.get(1, 'delivered');
if (delivered !== moved) throw new Error(`${delivered} of ${moved} delivered`);
console.log(
  `${frameBytes} B, batch ${batch}: ${best.toFixed(1)} ns of processor time per datagram (best 100 ms)`,
);
if (pause > 0) {
  const median = cold.sort((a, b) => a - b)[cold.length >> 1];
  console.log(
    `a turn after ${pause} ms of sleep: ${(median * 1000).toFixed(1)} µs (median of 200)`,
  );
}
