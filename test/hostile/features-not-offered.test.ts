/** A front-end acknowledges what was never offered: refused, never acted upon. */
import { describe, expect, test } from 'vitest';
import { native } from '../../src/native.ts';
import { useFixture } from '../support/fixture.ts';
import { FEATURE, PROTOCOL_FEATURE, REQUEST, u64 } from '../support/protocol.ts';
import { until } from '../support/until.ts';

describe('features that were not offered', () => {
  const fixture = useFixture();

  for (const [name, bit] of [
    ['RING_PACKED', FEATURE.RING_PACKED],
    ['UFO', 1n << 10n],
    ['CTRL_VQ', 1n << 17n],
    ['bit 63', 1n << 63n],
  ] as const) {
    test(`SET_FEATURES with ${name}`, async () => {
      const a = await fixture().connectedAttacker();
      await a.negotiate();
      const features = a.offered;
      const all = u64(features | bit);
      expect(await a.frontEnd.askNumber(REQUEST.SET_FEATURES, all, { needReply: true })).toBe(1n);
      // As if nothing had been said
      await a.run();
      await fixture().goodPasses(a);
    });
  }

  test('SET_PROTOCOL_FEATURES with everything', async () => {
    const a = await fixture().connectedAttacker();
    await a.frontEnd.getFeatures();
    await a.frontEnd.send(REQUEST.SET_PROTOCOL_FEATURES, u64(PROTOCOL_FEATURE.REPLY_ACK));
    a.frontEnd.protocolFeatures = PROTOCOL_FEATURE.REPLY_ACK;
    const all = u64((1n << 64n) - 1n);
    const answer = await a.frontEnd.askNumber(REQUEST.SET_PROTOCOL_FEATURES, all, {
      needReply: true,
    });
    expect(answer).toBe(1n);
    // It still has those of before, and no others.
    expect(await a.frontEnd.askNumber(REQUEST.NET_SET_MTU, u64(1500n), { needReply: true })).toBe(
      1n,
    );
  });

  test('requests of devices and features that we are not', async () => {
    const a = await fixture().attacker();
    for (const request of [
      REQUEST.GET_CONFIG,
      REQUEST.SET_CONFIG,
      REQUEST.CREATE_CRYPTO_SESSION,
      REQUEST.CLOSE_CRYPTO_SESSION,
      REQUEST.POSTCOPY_LISTEN,
      REQUEST.GET_INFLIGHT_FD,
      REQUEST.SET_INFLIGHT_FD,
      REQUEST.GPU_SET_SOCKET,
      REQUEST.VRING_KICK,
      REQUEST.SET_STATUS,
      REQUEST.IOTLB_MSG,
      REQUEST.SET_VRING_ENDIAN,
      REQUEST.GET_SHARED_OBJECT,
      REQUEST.SET_DEVICE_STATE_FD,
    ]) {
      const answer = await a.frontEnd.ask(request, Buffer.alloc(24), { needReply: true });
      expect(answer.payload.readBigUInt64LE(), `request ${request}`).not.toBe(0n);
    }
    await fixture().goodPasses(a);
  });

  // No datagram is in flight between two turns, so there is nothing to record: docs/decisions/0006.
  test('the in-flight record: refused, and its file is closed', async () => {
    const a = await fixture().attacker();
    const front = a.frontEnd;
    const file = native.memfd('inflight', 4096, true);
    try {
      expect(a.offeredProtocol & PROTOCOL_FEATURE.INFLIGHT_SHMFD).toBe(0n);
      const before = fixture().daemon.descriptors().length;
      const record = Buffer.alloc(24); // u64 size, u64 offset, u16 queues, u16 queue size, and padding
      record.writeBigUInt64LE(4096n, 0);
      record.writeUInt16LE(2, 16);
      record.writeUInt16LE(256, 18);
      for (let round = 0; round < 50; round++) {
        const options = { needReply: true, descriptors: [file] };
        const set = await front.ask(REQUEST.SET_INFLIGHT_FD, record, options);
        expect(set.payload.readBigUInt64LE()).not.toBe(0n);
        const got = await front.ask(REQUEST.GET_INFLIGHT_FD, record, { needReply: true });
        expect(got.payload.readBigUInt64LE()).not.toBe(0n);
        expect(got.descriptors).toEqual([]);
      }
      // The daemon opens and closes files of its own meanwhile; fifty records would show all the same.
      await until('descriptors as before', () => fixture().daemon.descriptors().length <= before);
    } finally {
      native.closeDescriptor(file);
    }
    await fixture().goodPasses(a);
  });
});
