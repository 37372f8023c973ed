/** How long what was found out about the buffers at a ring's head is believed. */
import { expect, test } from 'vitest';
import { HeadRoom } from '../../src/virtio/head-room.ts';

test('for so many datagrams that do not fit, at this place only', () => {
  const room = new HeadRoom();
  expect(room.lacks(5, 101)).toBe(false);
  room.remember(5, 100);
  expect(room.lacks(5, 100)).toBe(false);
  expect(room.lacks(6, 101)).toBe(false);
  let believed = 0;
  while (believed < 1000 && room.lacks(5, 101)) believed++;
  expect(believed).toBe(64);
  expect(room.lacks(5, 101)).toBe(false);
});
