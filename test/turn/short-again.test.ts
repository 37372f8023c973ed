/**
 * A driver that has too few buffers for a datagram has a tenth of a second to offer more, each time: that the packed ring ended at the same
 * place once before, however long ago, says nothing.
 */
import { expect, test } from 'vitest';
import { Base } from '../../src/base/base.ts';
import { Counters } from '../../src/counters.ts';
import { native } from '../../src/native.ts';
import { bitsOf, FEATURE } from '../../src/virtio/features.ts';
import { Guest, partsOf, READ_BUFFERS, WRITE_BUFFERS } from '../fuzz/guest.ts';
import { lanPlan } from '../support/lan-plan.ts';
import { A, B, udpFrame } from '../support/traffic.ts';

const SIZE = 8;
const SENDER_SIZE = 32;
const HEADER = 12;
/** A datagram of LARGE bytes needs two buffers. */
const ROOM = 1012;
const LARGE = 1400;
const SMALL = 10;
const WRITE = 2;
const AVAIL = 1 << 7;
const USED = 1 << 15;
const MODERN = [FEATURE.VERSION_1, FEATURE.PROTOCOL_FEATURES];
const FRESH_PACKED = 0x8000_8000;

test('a datagram that is short of buffers where another one was waits as long as that', () => {
  const counters = new Counters(2);
  let now = 1000;
  const { turn, portControls } = new Base(
    native,
    lanPlan([A, B].map(({ ip, mac }) => ({ addresses: [ip], mac }))),
    counters.buffer,
    () => {},
    () => now,
  );
  const sender = new Guest(0);
  const receiver = new Guest(1);
  const features = [bitsOf(MODERN), bitsOf([...MODERN, FEATURE.MRG_RXBUF, FEATURE.RING_PACKED])];
  for (const guest of [sender, receiver]) {
    portControls[guest.number].port.attach(guest.begin(features[guest.number]));
    turn.activate(portControls[guest.number].port);
  }
  for (const ring of [0, 1]) {
    sender.start(ring, SENDER_SIZE, 0, true);
    receiver.start(ring, SIZE, FRESH_PACKED, true);
  }

  let offered = 0;
  /** The receiver's driver offers `count` buffers more. */
  const offer = (count: number): void => {
    for (const end = offered + count; offered < end; offered++) {
      const place = offered % SIZE;
      const lap = Math.floor(offered / SIZE) % 2 === 0 ? AVAIL : USED;
      const at = partsOf(0).descriptors + 16 * place;
      receiver.descriptor(
        at,
        WRITE_BUFFERS.start + 2048 * place,
        0,
        ROOM,
        place | ((WRITE | lap) << 16),
      );
    }
  };
  let sent = 0;
  const send = (...sizes: number[]): void => {
    const { memory } = sender.regions[0];
    const { descriptors, avail } = partsOf(1);
    for (const bytes of sizes) {
      const slot = sent++ % SENDER_SIZE;
      const at = READ_BUFFERS.start + 2048 * slot;
      const frame = udpFrame(A, B.ip, Buffer.alloc(bytes));
      sender.write(at, new Uint8Array(HEADER));
      sender.write(at + HEADER, frame);
      sender.descriptor(descriptors + 16 * slot, at, 0, HEADER + frame.length, 0);
      memory.writeUInt16LE(slot, avail + 4 + 2 * slot);
    }
    memory.writeUInt16LE(sent, avail + 2);
  };
  /** Turns until so many milliseconds have passed. */
  const pass = (milliseconds: number): void => {
    for (const end = now + milliseconds; now < end; now++) {
      turn.activate(portControls[1].port);
      turn.time[0] = now;
      turn.run();
    }
  };
  const counts = () => ({
    delivered: counters.get(0, 'delivered'),
    waiting: counters.get(0, 'waiting'),
    inputTooSmall: counters.get(0, 'inputTooSmall'),
  });
  const small = (count: number) => new Array<number>(count).fill(SMALL);

  // One buffer is left, the last one of the ring.
  offer(SIZE);
  send(...small(SIZE - 1));
  send(LARGE, SMALL);
  pass(50);
  expect(counts()).toEqual({ delivered: 7, waiting: 2, inputTooSmall: 0 });
  offer(SIZE - 1);
  pass(2);
  expect(counts()).toEqual({ delivered: 9, waiting: 0, inputTooSmall: 0 });

  // Much later the same one is left. The large one took two.
  offer(1);
  expect(offered % SIZE).toBe(0);
  const left = offered - (sent + 1);
  send(...small(left - 1));
  pass(1000);
  const { delivered } = counts();
  send(LARGE, SMALL);
  pass(90);
  expect(counts(), 'it waits').toEqual({ delivered, waiting: 2, inputTooSmall: 0 });
  pass(20);
  expect(counts(), 'it waited').toEqual({
    delivered: delivered + 1,
    waiting: 0,
    inputTooSmall: 1,
  });

  // Nobody waits behind this one.
  offer(1);
  send(LARGE);
  pass(1000);
  expect(counts()).toEqual({ delivered: delivered + 1, waiting: 1, inputTooSmall: 1 });
  offer(1);
  pass(2);
  expect(counts()).toEqual({ delivered: delivered + 2, waiting: 0, inputTooSmall: 1 });
});
