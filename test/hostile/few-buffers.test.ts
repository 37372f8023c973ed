/**
 * Ranked case 23: a driver that offers fewer buffers than its ring is long (unikernels; DPDK's virtio takes what it is told) gets one datagram that all of
 * them together can't hold: that one is lost, those behind it are not.
 */
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { BOTH_FORMATS, FORMATS } from '../support/formats.ts';
import { GSO, HDR_FLAG } from '../support/net-header.ts';
import { parse } from '../support/packets.ts';
import { A, B, tcpFrame, udpFrame } from '../support/traffic.ts';
import { until } from '../support/until.ts';
import type { Vm } from '../support/vm.ts';
import { World } from '../support/world.ts';

let world: World;
beforeAll(async () => {
  world = await World.start(BOTH_FORMATS);
});
afterEach(async () => {
  await world.balance();
  await world.release();
});
afterAll(() => world?.close());

/** TCP to be segmented, which the receiver takes as it is. */
async function sendLarge(a: Vm): Promise<void> {
  await a.send(tcpFrame(A, B.ip, Buffer.alloc(50_000), { checksum: 'partial' }), {
    header: {
      flags: HDR_FLAG.needsCsum,
      gsoType: GSO.tcpv4,
      gsoSize: 1448,
      checksumStart: 34,
      checksumOffset: 16,
      headerLength: 54,
    },
  });
}

describe.each(FORMATS)('what they can’t hold does not hold up the rest: $format', ({ packed }) => {
  test.each(['one', 'many'])('%s behind it', async (count) => {
    const a = await world.vm('a', { packed, transmitBytes: 4096 });
    const b = await world.vm('b', { packed, receiveBuffers: 16 }); // 32 KiB in all
    const before = (await world.daemon.vm('a')).drops.inputTooSmall;
    await sendLarge(a);
    await a.send(udpFrame(A, B.ip, Buffer.from('small')));
    await until('something to arrive', async () => {
      if (count === 'many') await a.send(udpFrame(A, B.ip, Buffer.from('small')));
      return b.pollReceived() > 0;
    });
    expect(parse(b.received[0].frame).udp?.payload.toString()).toBe('small');
    expect((await world.daemon.vm('a')).drops.inputTooSmall).toBe(before + 1);
  });
});
