/** Ranked case 8: zero-length descriptors in a chain are passed over; the datagram arrives; bad addresses with length 0 do no harm. */
import { describe, expect, test } from 'vitest';
import { useFixture } from '../support/fixture.ts';
import { BOTH_FORMATS, FORMATS } from '../support/formats.ts';
import { parse } from '../support/packets.ts';
import { A, B, udpFrame } from '../support/traffic.ts';

const frame = udpFrame(A, B.ip, Buffer.from('with gaps'));
const whole = Buffer.concat([Buffer.alloc(12), frame]);
const none = Buffer.alloc(0);

const CHAINS: Record<string, Buffer[]> = {
  'in front': [none, whole],
  'in the middle': [whole.subarray(0, 12), none, none, whole.subarray(12)],
  'at the end': [whole, none],
  everywhere: [
    none,
    whole.subarray(0, 5),
    none,
    whole.subarray(5, 20),
    none,
    whole.subarray(20),
    none,
  ],
};

const fixture = useFixture(BOTH_FORMATS);

describe.each(FORMATS)('empty descriptors: $format', ({ packed }) => {
  for (const indirect of [false, true]) {
    for (const [name, parts] of Object.entries(CHAINS)) {
      test(`${name}, ${indirect ? 'indirect' : 'direct'}`, async () => {
        const a = await fixture().attacker({ packed });
        a.transmitQueue().add(
          parts.map((data) => ({ data })),
          { indirect },
        );
        a.transmitQueue().publish();
        const got = await fixture().flow.other(fixture().b);
        expect(parse(got.frame).udp?.payload.toString()).toBe('with gaps');
        await a.untilSent();
        await fixture().goodPasses(a);
      });
    }
  }

  test('an empty descriptor with an impossible address is passed over', async () => {
    const a = await fixture().attacker({ packed });
    const queue = a.transmitQueue();
    for (const address of [1n << 60n, (1n << 64n) - 1n, 0xb0000n]) {
      const chain = queue.add([{ data: whole }, { data: none }])!;
      queue.rewrite(chain, 1, { address, length: 0 });
    }
    queue.publish();
    await a.untilSent();
    for (let i = 0; i < 3; i++) {
      const got = await fixture().flow.other(fixture().b);
      expect(parse(got.frame).udp?.payload.toString()).toBe('with gaps');
    }
    await fixture().goodPasses(a);
  });
});
