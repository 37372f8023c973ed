/** A front-end acknowledges what was never offered: refused or closed, never acted upon. */
import { describe, expect, test } from 'vitest';
import { useFixture } from '../support/fixture.ts';
import { ConnectionClosed } from '../support/frontend.ts';
import { FEATURE, PROTOCOL_FEATURE, REQUEST, u64 } from '../support/protocol.ts';
import { QEMU_PROTOCOL_FEATURES } from '../support/vm.ts';

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
      const { features } = await a.frontEnd.negotiate(QEMU_PROTOCOL_FEATURES);
      const answer = await a.frontEnd
        .askNumber(REQUEST.SET_FEATURES, u64(features | bit), { needReply: true })
        .catch((error: Error) => {
          if (error instanceof ConnectionClosed) return 1n;
          throw error;
        });
      expect(answer).not.toBe(0n);
    });
  }

  test('SET_PROTOCOL_FEATURES with everything', async () => {
    const a = await fixture().connectedAttacker();
    await a.frontEnd.getFeatures();
    await a.frontEnd.send(REQUEST.SET_PROTOCOL_FEATURES, u64(PROTOCOL_FEATURE.REPLY_ACK));
    a.frontEnd.protocolFeatures = PROTOCOL_FEATURE.REPLY_ACK;
    const answer = await a.frontEnd
      .askNumber(REQUEST.SET_PROTOCOL_FEATURES, u64((1n << 64n) - 1n), { needReply: true })
      .catch((error: Error) => {
        if (error instanceof ConnectionClosed) return 1n;
        throw error;
      });
    expect(answer).not.toBe(0n);
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
});
