/**
 * Ranked case 15: an input ring that was full is stopped, and starts again with fewer entries while its log is still to come: what the base knows of the
 * old ring's end lies beyond the new one, and nothing may be looked up there.
 */
import { describe, expect, test } from 'vitest';
import { DirtyLogArea } from '../support/dirty-log.ts';
import { useFixture } from '../support/fixture.ts';
import { BOTH_FORMATS, FORMATS } from '../support/formats.ts';
import { parse } from '../support/packets.ts';
import { FEATURE } from '../support/protocol.ts';
import { A, B, udpFrame } from '../support/traffic.ts';
import { LINUX_FEATURES } from '../support/vm.ts';

const BUFFERS = 100;
const WAITING = 10;
const FEWER = 16;

const fixture = useFixture(BOTH_FORMATS);

describe.each(FORMATS)('a full ring shrinks: $format', ({ packed }) => {
  test('a datagram that comes before its log waits for that; others lose nothing', async () => {
    const { b, daemon, flow } = fixture();
    const a = await fixture().attacker({
      packed,
      receiveBuffers: BUFFERS,
      features: LINUX_FEATURES & ~FEATURE.MRG_RXBUF,
    });
    const log = new DirtyLogArea(16 << 20);
    try {
      for (let i = 0; i < BUFFERS + WAITING; i++)
        await b.send(udpFrame(B, A.ip, Buffer.from(`${i}`)));
      await daemon.untilCount('b', 'waiting', WAITING);
      for (const index of [0, 1]) await a.stopRing(index);
      await daemon.untilCount('b', 'waiting', 0);
      // The guest boots another driver during a migration.
      for (const queue of a.queues.splice(0)) queue.close();
      a.options.queueSize = FEWER;
      a.features |= FEATURE.LOG_ALL;
      a.createQueues();
      await a.applyFeatures();
      a.fillReceive();
      await a.startRing(0);
      await b.send(udpFrame(B, A.ip, Buffer.from('during a migration')));
      await daemon.untilCount('b', 'waiting', 1);
      await flow.advance(50);
      expect(await log.share(a.frontEnd)).toBe(0n);
      const { udp } = parse((await a.receive()).frame);
      expect(udp?.payload.toString()).toBe('during a migration');
    } finally {
      a.close();
      await daemon.untilState('a', 'waiting');
      log.close();
    }
  });
});
