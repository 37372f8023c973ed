/** What the kernel tells of interfaces, in order; and where it lost some of that, nothing of it, but a look at the interfaces themselves. */
import { beforeEach, expect, test } from 'vitest';
import type { Adapter } from '../../src/adapter/adapter.ts';
import { LinkWatch } from '../../src/adapter/link-watch.ts';
import type { LinkMessage } from '../../src/adapter/rtnetlink.ts';
import { EAGAIN, ENOBUFS } from '../../src/errno.ts';
import type { Native } from '../../src/native.ts';

/** An index: a message that says of itself that it is longer than its datagram. */
const DAMAGED = -1;

/** Datagrams that wait, each one message about an interface of this index; or an error. */
let waiting: (number | { error: number })[];
let told: (number | 'look')[];
let links: LinkWatch;

beforeEach(() => {
  waiting = [];
  told = [];
  const native = {
    netlinkOpen: () => 3,
    receive: (_fd: number, bytes: Uint8Array) => {
      const next = waiting.shift();
      if (next === undefined) return EAGAIN;
      if (typeof next !== 'number') return next.error;
      const view = new DataView(bytes.buffer);
      bytes.fill(0, 0, 32);
      view.setUint32(0, next === DAMAGED ? 3200 : 32, true);
      view.setUint16(4, 16, true); // RTM_NEWLINK
      view.setInt32(20, next, true);
      return 32;
    },
  } as unknown as Native;
  const adapter = {
    linkChanged: ({ index }: LinkMessage) => told.push(index),
    refreshLink: () => told.push('look'),
  } as unknown as Adapter;
  links = new LinkWatch(native, { watch: () => {}, unwatch: () => {} }, [adapter]);
});

test('messages, in order', () => {
  waiting.push(1, 2, 3);
  links.read();
  expect(told).toEqual([1, 2, 3]);
});

test('behind a loss what is in the queue is older, and not believed; once it is empty, messages are', () => {
  waiting.push(1, { error: ENOBUFS }, 2, 3);
  links.read();
  expect(told).toEqual([1, 'look']);
  waiting.push(4);
  links.read();
  expect(told).toEqual([1, 'look', 4]);
});

test('a queue that is longer than one look takes is looked at until it is empty', () => {
  waiting.push({ error: ENOBUFS }, ...Array<number>(100).fill(1));
  links.read();
  expect(told).toEqual(['look']);
  links.read();
  expect(told).toEqual(['look', 'look']);
  waiting.push(5);
  links.read();
  expect(told).toEqual(['look', 'look', 5]);
});

test('a message that can’t be read counts as lost', () => {
  waiting.push(1, DAMAGED, 2);
  links.read();
  expect(told).toEqual([1, 'look']);
});
