/**
 * Linux segments for a peer that announces a tiny MSS, too: it believes 48 bytes at least, of which up to 40 are options (include/net/tcp.h, TCP_MIN_SND_MSS
 * and TCP_MIN_GSO_SIZE). A segment may carry 8 bytes.
 */
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { GSO, HDR_FLAG } from '../support/net-header.ts';
import { pattern } from '../support/offload-frames.ts';
import { parse } from '../support/packets.ts';
import { A, B, tcpFrame, THREE_VMS } from '../support/traffic.ts';
import { PLAIN_FEATURES } from '../support/vm.ts';
import { World } from '../support/world.ts';

const TIMESTAMPS = Buffer.from('0101080a0000000100000002', 'hex');
const SEGMENTS = 4;

let world: World;
beforeAll(async () => {
  world = await World.start({ vms: THREE_VMS });
});
afterEach(() => world.release());
afterAll(() => world?.close());

test.each([48, 36, 8])(
  'segments of %i bytes are made for a receiver that takes no larger ones',
  async (gsoSize) => {
    const a = await world.vm('a');
    const b = await world.vm('b', { features: PLAIN_FEATURES });
    const before = (await world.daemon.vm('a')).drops.badSegmentation;
    const data = pattern(gsoSize * SEGMENTS);
    const sent = tcpFrame(A, B.ip, data, { checksum: 'partial', tcpOptions: TIMESTAMPS });
    await a.send(sent, {
      header: {
        flags: HDR_FLAG.needsCsum,
        checksumStart: 34,
        checksumOffset: 16,
        gsoType: GSO.tcpv4,
        gsoSize,
        headerLength: 66,
      },
    });
    await a.untilSent();
    expect((await world.daemon.vm('a')).drops.badSegmentation, 'refused').toBe(before);
    for (let count = 0; count < SEGMENTS; count++) {
      const { tcp, problems, checksum } = parse((await b.receive()).frame);
      expect([problems, checksum]).toEqual([[], 'good']);
      expect(tcp!.sequence).toBe(count * gsoSize);
      const part = data.subarray(count * gsoSize, (count + 1) * gsoSize);
      expect(tcp!.payload.equals(part), `segment ${count}`).toBe(true);
    }
    await world.balance();
  },
);
