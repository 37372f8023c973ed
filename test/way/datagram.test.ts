/**
 * A datagram goes into one VM's output buffer and comes out of another's input buffer: the same bytes, both MACs rewritten,
 * the TTL untouched; whatever features either side acknowledged.
 */
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { BOTH_FORMATS, FORMATS } from '../support/formats.ts';
import { parse } from '../support/packets.ts';
import { FEATURE, PROTOCOL_FEATURE } from '../support/protocol.ts';
import { seeded } from '../support/random.ts';
import { A, B, forwarded, udpFrame } from '../support/traffic.ts';
import { LINUX_FEATURES, PLAIN_FEATURES, type VmOptions } from '../support/vm.ts';
import { World } from '../support/world.ts';

const LEGACY = FEATURE.CSUM | FEATURE.GUEST_CSUM | FEATURE.EVENT_IDX | FEATURE.INDIRECT_DESC;

const GUESTS: Record<string, VmOptions> = {
  'Linux, everything': {},
  'VERSION_1 alone': { features: PLAIN_FEATURES },
  'no mergeable buffers': { features: LINUX_FEATURES & ~FEATURE.MRG_RXBUF },
  'no EVENT_IDX': { features: LINUX_FEATURES & ~FEATURE.EVENT_IDX },
  'no INDIRECT_DESC': { features: LINUX_FEATURES & ~FEATURE.INDIRECT_DESC },
  IN_ORDER: { features: LINUX_FEATURES | FEATURE.IN_ORDER },
  'IN_ORDER without EVENT_IDX': {
    features: (LINUX_FEATURES | FEATURE.IN_ORDER) & ~FEATURE.EVENT_IDX,
  },
  'small mergeable buffers': { receiveBytes: 128 },
  'a ring of 8': { queueSize: 8 },
  'a ring of 1024': {
    queueSize: 1024,
    memory: { regions: [{ guestAddress: 0, bytes: 32 << 20 }] },
  },
  SET_MEM_TABLE: { protocolFeatures: PROTOCOL_FEATURE.REPLY_ACK },
  'no protocol feature at all': { protocolFeatures: 0n },
};

/** A packed ring needs VERSION_1. */
const LEGACY_GUESTS: Record<string, VmOptions> = {
  'legacy, 10-byte header': { features: LEGACY },
  'legacy, mergeable': { features: LEGACY | FEATURE.MRG_RXBUF },
};

let world: World;
beforeAll(async () => {
  world = await World.start(BOTH_FORMATS);
});
afterEach(() => world.release());
afterAll(() => world?.close());

describe.each(FORMATS)('a datagram in, the same datagram out: $format', ({ packed }) => {
  for (const [name, options] of Object.entries(packed ? GUESTS : { ...GUESTS, ...LEGACY_GUESTS })) {
    test(`between a Linux guest and one with: ${name}`, async () => {
      const random = seeded();
      // Opposite a packed guest stands now a packed one, now a split one.
      const a = await world.vm('a', { packed: packed && random.chance(0.5) });
      const b = await world.vm('b', { ...options, packed });
      for (let i = 0; i < (packed ? 150 : 300); i++) {
        const there = udpFrame(A, B.ip, random.bytes(random.between(0, 1472)), {
          ip: { identification: i },
        });
        const indirect = i % 3 === 0;
        await a.send(there, { indirect: indirect && a.has(FEATURE.INDIRECT_DESC) });
        expect((await b.receive()).frame.equals(forwarded(there, B)), `to b, ${i}`).toBe(true);
        const back = udpFrame(B, A.ip, random.bytes(random.between(0, 1472)), {
          ip: { identification: i },
        });
        await b.send(back, { indirect: indirect && b.has(FEATURE.INDIRECT_DESC) });
        expect((await a.receive()).frame.equals(forwarded(back, A)), `to a, ${i}`).toBe(true);
      }
      await a.untilSent();
      await b.untilSent();
      await world.balance();
    });
  }

  test('a multicast reaches the other VMs under the MAC of its group, a broadcast under everybody’s', async () => {
    const a = await world.vm('a', { packed });
    const b = await world.vm('b', { packed });
    for (const [to, mac] of [
      ['224.0.0.251', '01:00:5e:00:00:fb'],
      ['239.255.171.205', '01:00:5e:7f:ab:cd'],
      ['10.77.0.255', 'ff:ff:ff:ff:ff:ff'],
      ['255.255.255.255', 'ff:ff:ff:ff:ff:ff'],
    ]) {
      const sent = udpFrame(A, to, Buffer.from('to whom it may concern'));
      await a.send(sent);
      const { frame } = await b.receive();
      const { destination, problems } = parse(frame);
      expect([destination, problems]).toEqual([mac, []]);
      expect(frame.subarray(14).equals(sent.subarray(14))).toBe(true);
    }
    await world.balance();
  });

  test('many in flight arrive in order', async () => {
    const a = await world.vm('a', { packed });
    const b = await world.vm('b', { packed });
    const count = packed ? 3000 : 5000;
    let next = 0;
    let seen = 0;
    while (seen < count) {
      while (next < count && next - seen < 100) {
        const payload = Buffer.alloc(64);
        payload.writeUInt32BE(next);
        if (!a.trySend(udpFrame(A, B.ip, payload), { publish: next % 7 === 0 })) break;
        next++;
      }
      a.transmitQueue().publish();
      const { frame } = await b.receive();
      expect(frame.readUInt32BE(14 + 28)).toBe(seen);
      seen++;
    }
    await world.balance();
  });
});
