/** Announcements to the LAN with a clock of the test's: twice each, and no front-end can have them said all the time. */
import { describe, expect, it } from 'vitest';
import type { AdapterContext } from '../../src/adapter/context.ts';
import { LanArp } from '../../src/adapter/lan-arp.ts';
import type { Neighbours } from '../../src/adapter/neighbours.ts';
import { keyOf } from '../../src/wire/ipv4-address.ts';
import { parse } from '../support/packets.ts';

const MAC = Uint8Array.of(2, 0, 0, 0, 0, 1);
const HEADER_BYTES = 12;

function world() {
  const said: string[] = [];
  const dues: number[] = [];
  const context = {
    network: { address: '10.77.0.1', prefix: 24 },
    addresses: { owner: () => -1, ownedKeys: () => [] },
    port: 9,
    outbox: {
      add(_from: number, _to: number, packet: Uint8Array) {
        said.push(parse(Buffer.from(packet.subarray(HEADER_BYTES))).arp?.targetIp ?? '');
        return true;
      },
    },
    due: (time: number) => dues.push(time),
  } as unknown as AdapterContext;
  return { arp: new LanArp(context, {} as Neighbours, MAC), said, dues };
}

describe('announcements to the LAN', () => {
  it('are said at once, and again two seconds later', () => {
    const { arp, said, dues } = world();
    arp.announce([keyOf('10.77.0.5')], 1000);
    expect(said).toEqual(['10.77.0.5']);
    expect(dues.at(-1)).toBe(3000);
    expect(arp.tick(2999)).toBe(3000);
    expect(said).toHaveLength(1);
    expect(arp.tick(3000)).toBe(Number.POSITIVE_INFINITY);
    expect(said).toEqual(['10.77.0.5', '10.77.0.5']);
  });

  it('a long list is said in batches', () => {
    const { arp, said } = world();
    arp.announce(
      Array.from({ length: 100 }, (_, index) => keyOf(`10.77.0.${index + 5}`)),
      0,
    );
    expect(said).toHaveLength(64);
    expect(arp.tick(19), 'the rest a moment later').toBe(20);
    expect(said).toHaveLength(64);
    arp.tick(20);
    expect(new Set(said).size).toBe(100);
  });

  it('asked for again and again, they are said five times a second, and those of others at once', () => {
    const { arp, said } = world();
    for (let now = 0; now < 1000; now++) {
      arp.announce([keyOf('10.77.0.5')], now);
      if (now === 500) arp.announce([keyOf('10.77.0.6')], now);
      if (now === 500) expect(said.at(-1)).toBe('10.77.0.6');
    }
    expect(said.filter((address) => address === '10.77.0.5')).toHaveLength(5);
    // The last wish is fulfilled, too: soon, and once more.
    for (let now = 1000; now < 4000; now++) arp.tick(now);
    expect(said.filter((address) => address === '10.77.0.5')).toHaveLength(7);
    expect(said.filter((address) => address === '10.77.0.6')).toHaveLength(2);
  });
});
