/** When the base stops looking at a VM whose datagrams wait, with several pairs of rings. */
import { expect, test } from 'vitest';
import { Base } from '../../src/base/base.ts';
import { Counters } from '../../src/counters.ts';
import { native } from '../../src/native.ts';
import { bitsOf, FEATURE } from '../../src/virtio/features.ts';
import { Guest, partsOf, READ_BUFFERS, WRITE_BUFFERS } from '../fuzz/guest.ts';
import { lanPlan } from '../support/lan-plan.ts';
import { A, B, udpFrame } from '../support/traffic.ts';

const SIZE = 64;
const SENT = 16;
/** Bytes of each, without its virtio-net header. */
const FRAME = 60;
const HEADER = 12;
const WRITE = 2;
const FEATURES = bitsOf([FEATURE.VERSION_1, FEATURE.PROTOCOL_FEATURES]);

test('a VM whose datagrams wait for one ring is not looked at because another one has buffers', () => {
  const counters = new Counters(2);
  let now = 1000;
  const base = new Base(
    native,
    lanPlan([A, B].map(({ ip, mac }) => ({ addresses: [ip], mac }))),
    counters.buffer,
    () => {},
    () => now,
  );
  const { turn } = base;
  const sender = new Guest(0);
  const receiver = new Guest(1);
  for (const guest of [sender, receiver]) {
    const { port } = base.portControls[guest.number];
    port.attach(guest.begin(FEATURES));
    for (let ring = 0; ring < 4; ring++) guest.start(ring, SIZE, 0, true);
    turn.activate(port);
  }
  const round = (): void => {
    now += 1;
    turn.time[0] = now;
    turn.run();
    turn.attention.quieten(false);
  };
  /** Makes entries of a ring available, which name descriptor 0. */
  const offer = (guest: Guest, ring: number, count: number): void =>
    void guest.regions[0].memory.writeUInt16LE(count, partsOf(ring).avail + 2);

  // Flows for both pairs; only the first has buffers, and more than are needed.
  for (const ring of [0, 2]) {
    receiver.descriptor(partsOf(ring).descriptors, WRITE_BUFFERS.start, 0, 2048, WRITE);
  }
  offer(receiver, 0, SIZE);
  for (let i = 0; i < SENT; i++) {
    const frame = udpFrame(A, B.ip, Buffer.alloc(18), { ports: [2000 + i, 5000] });
    const at = READ_BUFFERS.start + 128 * i;
    sender.write(at, new Uint8Array(HEADER));
    sender.write(at + HEADER, frame);
    sender.descriptor(partsOf(1).descriptors + 16 * i, at, 0, HEADER + frame.length, 0);
    sender.regions[0].memory.writeUInt16LE(i, partsOf(1).avail + 4 + 2 * i);
  }
  offer(sender, 1, SENT);
  round();
  const waiting = counters.get(0, 'waiting');
  expect(waiting, 'flows of the second pair').toBeGreaterThan(0);
  expect(waiting, 'flows of the first pair').toBeLessThan(SENT);
  expect(turn.deliveredBytes).toBe((SENT - waiting) * FRAME);

  for (let i = 0; i < 8; i++) round();
  expect(turn.attention.active.length, 'ports that are looked at').toBe(0);
  expect(turn.busy).toBe(false);
  expect(turn.deliveredBytes).toBe(0);

  // Its driver, which was asked to, notifies the base of new buffers.
  expect(receiver.regions[0].memory.readUInt16LE(partsOf(2).used), 'used flags').toBe(0);
  offer(receiver, 2, SIZE);
  turn.activate(base.portControls[1].port);
  round();
  expect(counters.get(0, 'waiting')).toBe(0);
  expect(counters.get(0, 'delivered')).toBe(SENT);
  expect(turn.deliveredBytes, 'of those that waited').toBe(waiting * FRAME);
  // And is asked no longer: it refills in silence from now on.
  expect(receiver.regions[0].memory.readUInt16LE(partsOf(2).used), 'used flags').toBe(1);
});
