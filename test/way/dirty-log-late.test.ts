/**
 * QEMU starts a device during a migration (a guest that boots, a base that was restarted): SET_FEATURES with LOG_ALL, memory, rings, and
 * only then SET_LOG_BASE (hw/virtio/vhost.c, vhost_dev_start). What is written meanwhile must be in the log.
 */
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { DirtyLogArea } from '../support/dirty-log.ts';
import { parse } from '../support/packets.ts';
import { FEATURE } from '../support/protocol.ts';
import { A, B, THREE_VMS, udpFrame } from '../support/traffic.ts';
import { pause } from '../support/until.ts';
import { LINUX_FEATURES } from '../support/vm.ts';
import { World } from '../support/world.ts';
import { changed, snapshot } from '../support/written-pages.ts';

let world: World;
beforeAll(async () => {
  world = await World.start({ vms: THREE_VMS });
});
afterEach(() => world.release());
afterAll(() => world?.close());

const BEFORE = 'before the rings run';

test.each([
  [BEFORE, 'at once'],
  ['between them and the log', 'at once'],
  // QEMU has no processor, or the base has none.
  ['between them and the log', 'half a second later'],
  ['between them and the log', 'while the base stands still'],
])('datagrams that were sent %s are in the log, which comes %s', async (when, comes) => {
  const b = await world.vm('b');
  const a = await world.connected('a', { features: LINUX_FEATURES | FEATURE.LOG_ALL });
  const send = async () => {
    for (let count = 0; count < 5; count++) await b.send(udpFrame(B, A.ip, Buffer.alloc(900, 7)));
    await b.untilSent();
  };
  await a.negotiate();
  a.createQueues();
  await a.applyFeatures();
  for (const index of [0, 1]) await a.enable(index, true);
  await a.shareMemory();
  a.fillReceive();
  const before = snapshot(a);
  if (when === BEFORE) await send();
  for (const index of [0, 1]) await a.startRing(index);
  if (when !== BEFORE) await send();
  const log = new DirtyLogArea(16 << 20);
  try {
    if (comes === 'half a second later') await pause(500);
    const stands = comes === 'while the base stands still';
    if (stands) await world.daemon.freeze();
    const shared = log.share(a.frontEnd);
    if (stands) {
      await pause(500);
      world.daemon.thaw();
    }
    expect(await shared).toBe(0n);
    await b.send(udpFrame(B, A.ip, Buffer.alloc(900, 9)));
    await a.receive();
    await a.frontEnd.getFeatures();
    const lost = [...changed(a, before)].filter((address) => !log.marked(address));
    expect(lost.map((address) => address.toString(16))).toEqual([]);
  } finally {
    world.daemon.thaw();
    a.close();
    await world.daemon.untilState('a', 'waiting');
    log.close();
  }
});

test('datagrams that come when the rings are started again are in the log that is shared then, not in the one before', async () => {
  const b = await world.vm('b');
  const a = await world.connected('a', { features: LINUX_FEATURES | FEATURE.LOG_ALL });
  await a.negotiate();
  await a.run();
  const logs = [new DirtyLogArea(16 << 20), new DirtyLogArea(16 << 20)];
  try {
    expect(await logs[0].share(a.frontEnd)).toBe(0n);
    const bases = [await a.stopRing(0), await a.stopRing(1)];
    for (const index of [0, 1]) await a.startRing(index, bases[index]);
    const before = snapshot(a);
    for (let count = 0; count < 5; count++) await b.send(udpFrame(B, A.ip, Buffer.alloc(900, 7)));
    await b.untilSent();
    expect(await logs[1].share(a.frontEnd)).toBe(0n);
    for (let count = 0; count < 5; count++) await a.receive();
    await a.frontEnd.getFeatures();
    const lost = [...changed(a, before)].filter((address) => !logs[1].marked(address));
    expect(lost.map((address) => address.toString(16))).toEqual([]);
  } finally {
    a.close();
    await world.daemon.untilState('a', 'waiting');
    for (const log of logs) log.close();
  }
});

test('nothing waits for rings that were stopped before their log came: the next driver may take something else', async () => {
  const b = await world.vm('b');
  const a = await world.connected('a', { features: LINUX_FEATURES | FEATURE.LOG_ALL });
  await a.negotiate();
  await a.run();
  const before = await world.daemon.count('b', 'receiverNotRunning');
  await b.send(udpFrame(B, A.ip, Buffer.from('for the rings that run')));
  await world.daemon.untilCount('b', 'waiting', 1);
  for (const index of [0, 1]) await a.stopRing(index);
  const counted = async () => [
    await world.daemon.count('b', 'waiting'),
    (await world.daemon.count('b', 'receiverNotRunning')) - before,
  ];
  expect(await counted()).toEqual([0, 1]);
  await world.balance();
});

// Whose rings are to be logged is believed to share a log for ten seconds, anybody else not so long.
test.each([
  ['not to be logged', 8000],
  ['to be logged', 20_000],
])(
  'who acknowledges LOG_ALL, has rings that are %s and shares no log gets datagrams all the same',
  async (how, most) => {
    const b = await world.vm('b');
    const a = await world.connected('a', { features: LINUX_FEATURES | FEATURE.LOG_ALL });
    await a.negotiate();
    a.createQueues();
    await a.applyFeatures();
    await a.shareMemory();
    a.fillReceive();
    // Which the addresses of its rings say.
    if (how === 'not to be logged') a.features &= ~FEATURE.LOG_ALL;
    for (const index of [0, 1]) {
      await a.startRing(index);
      await a.enable(index, true);
    }
    await b.send(udpFrame(B, A.ip, Buffer.from('unlogged')));
    expect(parse((await a.receive(most)).frame).udp?.payload.toString()).toBe('unlogged');
    await world.balance();
  },
);
