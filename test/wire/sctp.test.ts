import { expect, test } from 'vitest';
import * as sctp from '../../src/wire/sctp.ts';

test.each([
  ['zeros', () => 0, 'aa36918a'],
  ['ones', () => 0xff, '43aba862'],
  ['ascending', (index: number) => index, '4e79dd46'],
  ['descending', (index: number) => 31 - index, '5cdb3f11'],
])('RFC 3720 appendix B.4: 32 bytes, %s', (_name, byte, expected) => {
  const bytes = Uint8Array.from({ length: 40 }, (_, index) => byte(index - 4));
  const crc = Buffer.alloc(4);
  crc.writeInt32LE(sctp.crc32c(bytes, 4, 32));
  expect(crc.toString('hex')).toBe(expected);
});

test('the checksum of a packet is made as if its own field were zero', () => {
  const packet = Buffer.from('03e807d000000001ffffffff0300001000000001', 'hex');
  const zeroed = Buffer.from(packet).fill(0, 8, 12);
  sctp.writeChecksum(packet, 0, packet.length);
  expect(packet.readInt32LE(8)).toBe(sctp.crc32c(zeroed, 0, zeroed.length));
  expect(packet.subarray(12)).toEqual(zeroed.subarray(12));
});
