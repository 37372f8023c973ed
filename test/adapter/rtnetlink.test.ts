/** rtnetlink: literal bytes as a 6.18 kernel sends them, and anything else without harm. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { isUp, type LinkMessage, parseLinks } from '../../src/adapter/rtnetlink.ts';

function attribute(type: number, value: Uint8Array): Buffer {
  const bytes = Buffer.alloc((4 + value.length + 3) & ~3);
  bytes.writeUInt16LE(4 + value.length, 0);
  bytes.writeUInt16LE(type, 2);
  bytes.set(value, 4);
  return bytes;
}

function word(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

function message(type: number, index: number, flags: number, attributes: Buffer[], family = 0) {
  const body = Buffer.concat(attributes);
  const head = Buffer.alloc(32);
  head.writeUInt32LE(32 + body.length, 0);
  head.writeUInt16LE(type, 4);
  head[16] = family;
  head.writeInt32LE(index, 20);
  head.writeUInt32LE(flags, 24);
  return Buffer.concat([head, body]);
}

function parse(bytes: Uint8Array, length = bytes.length) {
  const messages: LinkMessage[] = [];
  const whole = parseLinks(bytes, length, (found) => messages.push(found));
  return { whole, messages };
}

const NAME = attribute(3, Buffer.from('eth1\0'));
const MAC = attribute(1, Buffer.from('525400123456', 'hex'));

describe('rtnetlink', () => {
  it('reads name, index, MTU, MAC and flags', () => {
    // RTM_NEWLINK, index 7, IFF_UP|BROADCAST|RUNNING|MULTICAST|LOWER_UP; an unknown attribute in between.
    const bytes = Buffer.from(
      '4c000000100000000000000000000000' + // nlmsghdr: 76 bytes
        '000001000700000043100100ffffffff' + // ifinfomsg
        '0900030065746831000000000800040078050000' + // IFLA_IFNAME "eth1", IFLA_MTU 1400
        '0c00ff00aabbccddeeff0011' + // nobody knows
        '0a0001005254001234560000', // IFLA_ADDRESS
      'hex',
    );
    const mac = Buffer.from('525400123456', 'hex');
    expect(parse(bytes)).toEqual({
      whole: true,
      messages: [
        { deleted: false, index: 7, name: 'eth1', otherNames: false, mtu: 1400, mac, up: true },
      ],
    });
  });

  it('reads several messages, and steps over what is not about links', () => {
    const bytes = Buffer.concat([
      message(16, 1, 0x1003, [NAME]),
      message(20, 9, 0, [NAME]), // RTM_NEWADDR
      message(16, 2, 0x11043, [NAME], 7), // AF_BRIDGE: a bridge about its port
      message(17, 3, 0, [NAME, MAC]),
    ]);
    const { whole, messages } = parse(bytes);
    expect(whole).toBe(true);
    expect(messages.map(({ index, deleted, up }) => ({ index, deleted, up }))).toEqual([
      { index: 1, deleted: false, up: false }, // up without a carrier
      { index: 3, deleted: true, up: false },
    ]);
  });

  it('is up with a carrier only', () => {
    expect([0, 1, 0x40, 0x41, 0x1043].map(isUp)).toEqual([false, false, false, true, true]);
  });

  it('ignores a MAC or an MTU of another size', () => {
    const odd = [attribute(1, Buffer.alloc(8)), attribute(4, Buffer.alloc(2)), NAME];
    const { messages } = parse(message(16, 1, 0, odd));
    expect(messages).toMatchObject([{ mac: null, mtu: null, name: 'eth1' }]);
  });

  it('reads a name that is not ASCII as the configuration has it', () => {
    const name = attribute(3, Buffer.from('grün0\0'));
    expect(parse(message(16, 1, 0, [name])).messages).toMatchObject([{ name: 'grün0' }]);
  });

  it('sees that there are alternative names, whose list is marked as nested', () => {
    const list = attribute(0x8000 | 52, attribute(53, Buffer.from('other\0')));
    expect(parse(message(16, 1, 0, [list, NAME])).messages).toMatchObject([
      { name: 'eth1', otherNames: true },
    ]);
  });

  it('reads a name without an end as far as a name may be long', () => {
    const name = attribute(3, Buffer.from('x'.repeat(40)));
    expect(parse(message(16, 1, 0, [name])).messages).toMatchObject([{ name: 'x'.repeat(16) }]);
  });

  it('says that messages were lost', () => {
    expect(parse(message(4, 0, 0, [])).whole).toBe(false);
  });

  it.each([
    ['a cut header', Buffer.alloc(15)],
    ['a length of 0', Buffer.alloc(16)],
    ['a length below the header', message(16, 1, 0, []).fill(8, 0, 1)],
    ['a length beyond the end', message(16, 1, 0, []).fill(200, 0, 1)],
    [
      'a link message without ifinfomsg',
      Buffer.from('14000000100000000000000000000000aabbccdd', 'hex'),
    ],
  ])('refuses %s', (_, bytes) => {
    expect(parse(bytes)).toEqual({ whole: false, messages: [] });
  });

  it('ends at an attribute that does not fit', () => {
    const bytes = message(16, 1, 0, [NAME, word(0xffff_0001)]);
    expect(parse(bytes).messages).toMatchObject([{ name: 'eth1' }]);
    const short = message(16, 1, 0, [word(0x0003_0003), NAME]);
    expect(parse(short).messages).toMatchObject([{ name: '' }]);
  });

  it('survives anything', () => {
    const attributes = fc.array(
      fc
        .tuple(fc.nat(6), fc.uint8Array({ maxLength: 12 }))
        .map(([type, value]) => attribute(type, value)),
      { maxLength: 6 },
    );
    const links = fc
      .tuple(fc.constantFrom(16, 17, 3, 2), fc.integer(), fc.nat(), attributes)
      .map(([type, index, flags, list]) => message(type, index, flags, list));
    const datagram = fc.array(links, { maxLength: 4 }).map((list) => Buffer.concat(list));
    const spoilt = fc
      .tuple(datagram, fc.array(fc.tuple(fc.nat(400), fc.nat(255)), { maxLength: 8 }), fc.nat(400))
      .map(([bytes, changes, cut]) => {
        for (const [at, value] of changes) if (at < bytes.length) bytes[at] = value;
        return { bytes, length: Math.min(cut, bytes.length) };
      });
    fc.assert(
      fc.property(fc.oneof(spoilt, fc.uint8Array({ maxLength: 200 })), (input) => {
        const { bytes, length } =
          input instanceof Uint8Array ? { bytes: input, length: input.length } : input;
        const { messages } = parse(bytes, length);
        expect(messages.length).toBeLessThanOrEqual(length / 32);
        for (const { name } of messages) expect(name.length).toBeLessThanOrEqual(16);
      }),
      { numRuns: 2000 },
    );
  });
});
