import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import * as address from '../../src/wire/ipv4-address.ts';
import * as mac from '../../src/wire/mac.ts';

const key = fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 });

describe('IPv4 address keys', () => {
  test('are the wire bytes as a little-endian word', () => {
    expect(address.keyOf('10.77.0.1')).toBe(0x01004d0a);
    expect(address.keyOf('1.2.3.255')).toBe(new Int32Array(Uint8Array.of(1, 2, 3, 255).buffer)[0]);
    expect(address.keyOf('255.255.255.255')).toBe(address.BROADCAST_KEY);
    expect(address.dotted(address.keyOf('192.168.0.254'))).toBe('192.168.0.254');
  });

  test('text and key are each other’s inverse', () => {
    fc.assert(
      fc.property(key, (key) => {
        const text = address.dotted(key);
        expect(address.isAddress(text)).toBe(true);
        expect(address.keyOf(text)).toBe(key);
      }),
    );
  });

  test.each([
    '',
    '10.77.0',
    '10.77.0.1.2',
    '10.77.0.256',
    '10.77.0.01',
    '0x0a.77.0.1',
    '10.77.0.-1',
    '10.77.0.1 ',
    '10.77.0.1\n',
    '1e1.0.0.1',
    '10.77.0.',
    '::1',
  ])('%j is no address', (text) => {
    expect(address.isAddress(text)).toBe(false);
    expect(() => address.keyOf(text)).toThrow(RangeError);
  });

  test('swapKey counts addresses in their order', () => {
    expect(address.swapKey(address.keyOf('10.77.0.1'))).toBe(0x0a4d0001);
    fc.assert(fc.property(key, (k) => address.swapKey(address.swapKey(k)) === k));
  });

  test.each([
    ['0.1.2.3', 'isThisNetwork'],
    ['127.255.0.1', 'isLoopback'],
    ['169.254.9.9', 'isLinkLocal'],
    ['224.0.0.1', 'isMulticast'],
    ['239.255.255.255', 'isMulticast'],
    ['240.0.0.1', 'isReserved'],
    ['255.255.255.255', 'isReserved'],
  ] as const)('%s %s, and is nothing else', (text, kind) => {
    const { isThisNetwork, isLoopback, isLinkLocal, isMulticast, isReserved } = address;
    const kinds = { isThisNetwork, isLoopback, isLinkLocal, isMulticast, isReserved };
    const key = address.keyOf(text);
    const yes = Object.entries(kinds).filter(([, is]) => is(key));
    expect(yes.map(([name]) => name)).toEqual([kind]);
    expect(address.isHost(address.keyOf(text))).toBe(kind === 'isLinkLocal');
  });

  test.each(['10.0.0.1', '126.0.0.1', '128.0.0.1', '169.253.0.1', '223.255.255.255', '1.0.0.0'])(
    '%s can be a host',
    (text) => expect(address.isHost(address.keyOf(text))).toBe(true),
  );
});

describe('prefixes', () => {
  test.each([
    ['10.0.0.0/8', 0x000000ff],
    ['10.77.0.0/24', 0x00ffffff],
    ['10.77.128.0/17', 0x0080ffff],
    ['0.0.0.0/0', 0],
    ['10.77.0.1/32', -1],
  ])('%s', (text, mask) => {
    const prefix = address.parsePrefix(text);
    expect(prefix.mask).toBe(mask);
    expect(`${address.dotted(prefix.key)}/${prefix.bits}`).toBe(text);
    expect(prefix.key).toBe(address.keyOf(text.split('/')[0]));
  });

  test('contain what shares their first bits, and nothing else', () => {
    fc.assert(
      fc.property(key, fc.nat(32), key, (base, bits, other) => {
        const mask = address.maskKey(bits);
        const prefix = { key: base & mask, mask, bits };
        const cut = (k: number) => BigInt(address.swapKey(k) >>> 0) >> BigInt(32 - bits);
        expect(address.contains(prefix, other)).toBe(cut(other) === cut(base));
        expect(address.contains(prefix, base)).toBe(true);
        expect(address.contains(prefix, address.broadcastOf(prefix))).toBe(true);
        expect(address.parsePrefix(`${address.dotted(prefix.key)}/${bits}`)).toEqual(prefix);
      }),
    );
  });

  test('broadcastOf is the last address', () => {
    const last = (text: string) => address.dotted(address.broadcastOf(address.parsePrefix(text)));
    expect(last('10.77.0.0/24')).toBe('10.77.0.255');
    expect(last('10.77.0.0/30')).toBe('10.77.0.3');
    expect(last('0.0.0.0/0')).toBe('255.255.255.255');
  });

  test.each(['10.0.0.0', '10.0.0.0/33', '10.0.0.0/', '10.0.0.0/08', '10.0.0/8', '10.0.0.0/8/8'])(
    '%j is none',
    (text) => expect(() => address.parsePrefix(text)).toThrow(RangeError),
  );

  test('host bits are refused, and the message has the network', () => {
    expect(() => address.parsePrefix('10.77.0.1/24')).toThrow(/10\.77\.0\.0\/24/);
  });
});

describe('MAC addresses', () => {
  test('text and bytes', () => {
    const bytes = mac.parseMac('52:54:00:aB:00:11');
    expect([...bytes]).toEqual([0x52, 0x54, 0x00, 0xab, 0x00, 0x11]);
    expect(mac.macText(bytes)).toBe('52:54:00:ab:00:11');
    expect(mac.macText(mac.parseMac('52-54-00-AB-00-11'))).toBe('52:54:00:ab:00:11');
    expect(mac.macText(Uint8Array.of(9, 9, 0, 1, 2, 3, 4, 5), 2)).toBe('00:01:02:03:04:05');
  });

  test.each([
    '',
    '52:54:00:ab:00',
    '52:54:00:ab:00:11:22',
    '52:54-00:ab:00:11',
    '5254.00ab.0011',
    '52:54:00:ab:00:1',
    '52:54:00:ab:00:1g',
    '52:54:00:ab:00:11\n',
  ])('%j is none', (text) => {
    expect(mac.isMac(text)).toBe(false);
    expect(() => mac.parseMac(text)).toThrow(RangeError);
  });

  test('same, copy, isZero, isGroup look at six bytes, no more', () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ minLength: 6, maxLength: 6 }),
        fc.nat(7),
        fc.nat(5),
        fc.integer({ min: 1, max: 255 }),
        (address, at, place, change) => {
          const bytes = new Uint8Array(14).fill(0xa5);
          mac.copy(bytes, at, address, 0);
          expect(bytes.filter((_, i) => i < at || i >= at + 6).every((b) => b === 0xa5)).toBe(true);
          expect(mac.same(bytes, at, address, 0)).toBe(true);
          expect(mac.isGroup(bytes, at)).toBe(address[0] % 2 === 1);
          expect(mac.isZero(bytes, at)).toBe(address.every((b) => b === 0));
          bytes[at + place] ^= change;
          expect(mac.same(bytes, at, address, 0)).toBe(false);
        },
      ),
    );
    expect(mac.isZero(new Uint8Array(6))).toBe(true);
    expect(mac.isGroup(mac.BROADCAST_MAC)).toBe(true);
  });
});
