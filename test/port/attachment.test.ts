/** Rings and the features that decide whether they start enabled (vhost-user.rst, "Ring states"). */
import { describe, expect, test } from 'vitest';
import { native } from '../../src/native.ts';
import { Attachment } from '../../src/port/attachment.ts';
import { bitsOf, FEATURE } from '../../src/virtio/features.ts';

const WITH = bitsOf([FEATURE.VERSION_1, FEATURE.PROTOCOL_FEATURES]);
const WITHOUT = bitsOf([FEATURE.VERSION_1]);

const enabled = (attachment: Attachment): boolean[] => attachment.rings.map((ring) => ring.enabled);

test.each([
  ['split', WITH, 0],
  ['packed', bitsOf([FEATURE.VERSION_1, FEATURE.RING_PACKED]), 0x8000_8000],
] as const)('a %s ring that is rewound begins where a new one does', (format, features, base) => {
  const attachment = new Attachment(native);
  attachment.setFeatures(features);
  const ring = attachment.ring(0)!;
  expect([ring.queue.format, ring.base, ring.queue.base]).toEqual([format, base, base]);
  ring.base = 0x1234_1234;
  ring.rewind();
  expect(ring.base).toBe(base);
});

describe('rings start', () => {
  test('disabled with PROTOCOL_FEATURES, enabled without, whether they were spoken of before or not', () => {
    for (const [features, expected] of [
      [WITH, false],
      [WITHOUT, true],
    ] as const) {
      const attachment = new Attachment(native);
      attachment.ring(0);
      attachment.setFeatures(features);
      attachment.ring(1);
      expect(enabled(attachment)).toEqual([expected, expected]);
    }
  });

  test('as the features say that were set last', () => {
    const attachment = new Attachment(native);
    attachment.setFeatures(WITHOUT);
    attachment.ring(0);
    attachment.setFeatures(WITH);
    attachment.ring(1);
    expect(enabled(attachment)).toEqual([false, false]);
    attachment.setFeatures(WITHOUT);
    attachment.ring(2);
    expect(enabled(attachment)).toEqual([true, true, true]);
  });

  // QEMU before 7.2 leaves PROTOCOL_FEATURES out, and says of each ring whether it is enabled all the same.
  test.each([
    ['with', WITH],
    ['without', WITHOUT],
  ])(
    'and what SET_VRING_ENABLE said stays when features %s PROTOCOL_FEATURES are set again',
    (_, features) => {
      const attachment = new Attachment(native);
      attachment.setFeatures(features);
      attachment.ring(1)!.enable(false);
      attachment.rings[0].enable(true);
      attachment.setFeatures({ ...features, low: features.low | (1 << FEATURE.LOG_ALL) });
      expect(enabled(attachment)).toEqual([true, false]);
      attachment.rings[1].disable(); // a reset
      attachment.setFeatures(WITHOUT);
      expect(enabled(attachment)).toEqual([true, true]);
    },
  );
});
