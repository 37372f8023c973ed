/** What waits next in a backlog lies where what went just now lay: not before that was copied. */
import { expect, test } from 'vitest';
import { Base } from '../../src/base/base.ts';
import { Counters } from '../../src/counters.ts';
import { native } from '../../src/native.ts';
import { bitsOf, FEATURE } from '../../src/virtio/features.ts';
import { Guest, partsOf, READ_BUFFERS, WRITE_BUFFERS } from '../fuzz/guest.ts';
import { lanPlan } from '../support/lan-plan.ts';
import { A, B, udpFrame } from '../support/traffic.ts';

const SIZE = 8;
const HEADER = 12;
const WRITE = 2;
const BUFFER = 2048;
const TEXT_AT = HEADER + 42;

test('in the turn in which one goes and another comes', () => {
  const counters = new Counters(2);
  const { turn, portControls } = new Base(
    native,
    lanPlan([A, B].map(({ ip, mac }) => ({ addresses: [ip], mac }))),
    counters.buffer,
    () => {},
    () => 1000,
  );
  const [sender, receiver] = [new Guest(0), new Guest(1)];
  for (const guest of [sender, receiver]) {
    const { port } = portControls[guest.number];
    port.attach(guest.begin(bitsOf([FEATURE.VERSION_1, FEATURE.PROTOCOL_FEATURES])));
    for (const ring of [0, 1]) guest.start(ring, SIZE, 0, true);
    turn.activate(port);
  }
  turn.time[0] = 1000;

  const available = (guest: Guest, ring: number, count: number) => {
    const { memory } = guest.regions[0];
    const { avail } = partsOf(ring);
    memory.writeUInt16LE(count - 1, avail + 4 + 2 * (count - 1));
    memory.writeUInt16LE(count, avail + 2);
  };
  let sent = 0;
  const send = (text: string) => {
    const at = READ_BUFFERS.start + BUFFER * sent;
    const frame = udpFrame(A, B.ip, Buffer.from(text));
    sender.write(at + HEADER, frame);
    sender.descriptor(partsOf(1).descriptors + 16 * sent, at, 0, HEADER + frame.length, 0);
    available(sender, 1, ++sent);
  };
  let offered = 0;
  const offer = () => {
    const at = WRITE_BUFFERS.start + BUFFER * offered;
    receiver.descriptor(partsOf(0).descriptors + 16 * offered, at, 0, BUFFER, WRITE);
    available(receiver, 0, ++offered);
  };
  const received = (index: number) => {
    const { memory } = receiver.region(WRITE_BUFFERS.start)!;
    return memory.toString('latin1', BUFFER * index + TEXT_AT, BUFFER * index + TEXT_AT + 5);
  };

  send('first');
  turn.run();
  expect(counters.get(0, 'waiting')).toBe(1);
  offer();
  send('other');
  turn.run();
  expect(counters.get(0, 'waiting')).toBe(1);
  expect(received(0)).toBe('first');
  offer();
  turn.run();
  expect(received(1)).toBe('other');
});
