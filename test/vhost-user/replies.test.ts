/** Replies to a peer that reads late, and to one that never does. */
import { expect, test } from 'vitest';
import { EAGAIN } from '../../src/errno.ts';
import type { Native } from '../../src/native.ts';
import { FAILED, Replies, SENT, TOO_MANY } from '../../src/vhost-user/replies.ts';

const BROKEN_PIPE = -32;

/** A socket that takes `room` bytes more; below 0: what it answers. */
function socket() {
  const taken: number[] = [];
  const peer = { room: 0, taken };
  const native = {
    send: (_fd: number, bytes: Uint8Array, from: number, length: number) => {
      if (peer.room < 0) return peer.room;
      const count = Math.min(length, peer.room);
      if (count === 0) return EAGAIN;
      taken.push(...bytes.subarray(from, from + count));
      peer.room -= count;
      return count;
    },
  } as unknown as Native;
  return { peer, replies: new Replies(native, 0) };
}

test('who reads late but reads is served for ever', () => {
  const { peer, replies } = socket();
  let said = 0;
  const reply = () => new Uint8Array(20).fill(said++);
  for (let round = 0; round < 5000; round++) {
    expect(replies.add(reply())).toBe(SENT);
    expect(replies.add(reply())).toBe(SENT);
    expect(replies.wait).toBe(true);
    // Not even a whole one at first.
    for (const room of [7, 13, 20]) {
      peer.room = room;
      expect(replies.flush()).toBe(SENT);
    }
    expect(replies.wait).toBe(false);
    expect(peer.taken.splice(0)).toEqual([
      ...new Uint8Array(20).fill(said - 2),
      ...new Uint8Array(20).fill(said - 1),
    ]);
  }
});

test('who reads nothing has 64 KiB to read, and no more', () => {
  const { replies } = socket();
  for (let count = 0; count < 64; count++) expect(replies.add(new Uint8Array(1024))).toBe(SENT);
  expect(replies.add(new Uint8Array(1))).toBe(TOO_MANY);
});

test('who is gone', () => {
  const { peer, replies } = socket();
  replies.add(new Uint8Array(20));
  peer.room = BROKEN_PIPE;
  expect(replies.flush()).toBe(FAILED);
});
