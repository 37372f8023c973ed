/** What came while the base stood still (SIGSTOP, a debugger, no processor) came in time: deadlines are the front-end's, not ours. */
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { encodeMessage } from '../support/frontend.ts';
import { REQUEST, vringState } from '../support/protocol.ts';
import { pause } from '../support/until.ts';
import { QEMU_PROTOCOL_FEATURES } from '../support/vm.ts';
import { World } from '../support/world.ts';

/** Milliseconds that a front-end has for the rest of a message. */
const MESSAGE_DEADLINE = 2000;

let world: World;
beforeAll(async () => {
  world = await World.start();
});
afterEach(() => world.release());
afterAll(() => world?.close());

test('the rest of a message is taken, and the connection goes on', async () => {
  const { daemon } = world;
  const { frontEnd } = await world.connected('a');
  await frontEnd.negotiate(QEMU_PROTOCOL_FEATURES);
  const before = await daemon.count('a', 'messageTimeouts');
  const message = encodeMessage(REQUEST.SET_VRING_NUM, vringState(0, 256), { needReply: true });
  await frontEnd.sendBytes(message.subarray(0, 14));
  await pause(100); // the base has taken that
  await daemon.freeze();
  try {
    await frontEnd.sendBytes(message.subarray(14));
    await pause(MESSAGE_DEADLINE + 300);
  } finally {
    daemon.thaw();
  }
  expect((await frontEnd.reply()).payload.readBigUInt64LE(0)).toBe(0n);
  expect(await daemon.count('a', 'messageTimeouts')).toBe(before);
});
