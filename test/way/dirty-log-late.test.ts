/**
 * QEMU starts a device during a migration (a guest that boots, a base that was restarted): SET_FEATURES with LOG_ALL, memory, rings, and
 * only then SET_LOG_BASE (hw/virtio/vhost.c, vhost_dev_start). What is written meanwhile must be in the log.
 */
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { DirtyLogArea } from '../support/dirty-log.ts';
import { parse } from '../support/packets.ts';
import { FEATURE } from '../support/protocol.ts';
import { A, B, THREE_VMS, udpFrame } from '../support/traffic.ts';
import { LINUX_FEATURES, Vm } from '../support/vm.ts';
import { World } from '../support/world.ts';
import { changed, snapshot } from '../support/written-pages.ts';

let world: World;
beforeAll(async () => {
  world = await World.start({ vms: THREE_VMS });
});
afterEach(() => world.release());
afterAll(() => world?.close());

test.each(['before the rings run', 'between them and the log'])(
  'datagrams that were sent %s are in the log',
  async (when) => {
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
    if (when === 'before the rings run') await send();
    for (const index of [0, 1]) await a.startRing(index);
    if (when !== 'before the rings run') await send();
    const log = new DirtyLogArea(16 << 20);
    try {
      expect(await log.share(a.frontEnd)).toBe(0n);
      await b.send(udpFrame(B, A.ip, Buffer.alloc(900, 9)));
      await a.receive();
      await a.frontEnd.getFeatures();
      const lost = [...changed(a, before)].filter((address) => !log.marked(address));
      expect(lost.map((address) => address.toString(16))).toEqual([]);
    } finally {
      a.close();
      await world.daemon.untilState('a', 'waiting');
      log.close();
    }
  },
);

test('who acknowledges LOG_ALL and shares no log gets datagrams all the same', async () => {
  const b = await world.vm('b');
  await world.daemon.untilState('a', 'waiting');
  // Not until it is running: what comes before waits.
  const a = world.adopt(
    await Vm.start(world.daemon.socket('a'), { features: LINUX_FEATURES | FEATURE.LOG_ALL }),
  );
  await b.send(udpFrame(B, A.ip, Buffer.from('unlogged')));
  expect(parse((await a.receive()).frame).udp?.payload.toString()).toBe('unlogged');
  await world.balance();
});
