/** Ranked case 14: ring numbers, sizes, addresses and indices out of range. Refused; a running ring is not altered. */
import { describe, expect, test } from 'vitest';
import { MAX_PAIRS } from '../../src/plan.ts';
import { useFixture } from '../support/fixture.ts';
import { BOTH_FORMATS, FORMATS } from '../support/formats.ts';
import { ConnectionClosed } from '../support/frontend.ts';
import { REQUEST, u64, type VringAddress, vringAddress, vringState } from '../support/protocol.ts';
import { until } from '../support/until.ts';
import type { Vm } from '../support/vm.ts';

const BEHIND_LAST = 2 * MAX_PAIRS;
const INDICES = [BEHIND_LAST, 254, 255, 0x100, 0xffff, 0x10000, 0x10001, 0x7fffffff, 0xffffffff];

const fixture = useFixture(BOTH_FORMATS);

describe.each(FORMATS)('ring limits: $format', ({ packed }) => {
  async function refused(a: Vm, request: number, payload: Buffer, name: string): Promise<void> {
    const answer = await a.frontEnd.askNumber(request, payload, { needReply: true });
    expect(answer, name).toBe(1n);
  }

  test('a ring that does not exist', async () => {
    const a = await fixture().attacker({ packed });
    for (const index of INDICES) {
      for (const request of [
        REQUEST.SET_VRING_NUM,
        REQUEST.SET_VRING_BASE,
        REQUEST.SET_VRING_ENABLE,
      ]) {
        await refused(a, request, vringState(index, 1), `request ${request}, ring ${index}`);
      }
      const address = vringAddress({ index, descriptors: 0n, available: 0n, used: 0n });
      await refused(a, REQUEST.SET_VRING_ADDR, address, `address of ring ${index}`);
    }
    for (const index of [0xfen, 0xffn, 0xff1ffn, 0x200n, 1n << 32n]) {
      for (const request of [
        REQUEST.SET_VRING_KICK,
        REQUEST.SET_VRING_CALL,
        REQUEST.SET_VRING_ERR,
      ]) {
        await refused(a, request, u64(index | 0x100n), `request ${request}, ring ${index}`);
      }
    }
    await fixture().goodPasses(a);
  });

  test('GET_VRING_BASE of a ring that does not exist: closed, as no answer can refuse it', async () => {
    for (const index of [BEHIND_LAST, 255, 0x10000, 0xffffffff]) {
      const a = await fixture().attacker({ packed });
      const asked = a.frontEnd.ask(REQUEST.GET_VRING_BASE, vringState(index, 0));
      await expect(asked, `${index}`).rejects.toThrow(ConnectionClosed);
      a.close();
    }
    await fixture().goodPasses(await fixture().attacker({ packed }));
  });

  test(`sizes: 0, above 32768${packed ? '' : ', no power of two'}`, async () => {
    const odd = packed ? [] : [3, 255, 257];
    const a = await fixture().attacker({ packed });
    for (const index of [0, 1, 2]) {
      for (const size of [0, ...odd, 32769, 65536, 0x80000000, 0xffffffff]) {
        await refused(a, REQUEST.SET_VRING_NUM, vringState(index, size), `size ${size}`);
      }
    }
    await fixture().goodPasses(a);
  });

  test('a running ring keeps its size and place', async () => {
    const a = await fixture().attacker({ packed });
    await fixture().goodPasses(a);
    const queue = a.transmitQueue();
    const place = (address: number) => a.memory.userAddress(address);
    expect(await a.frontEnd.setVringNumber(1, 64)).toBe(1n);
    expect(await a.frontEnd.setVringBase(1, 12345)).toBe(1n);
    const moved = {
      index: 1,
      descriptors: place(queue.descriptorsAt) + 16n,
      available: place(queue.availableAt),
      used: place(queue.usedAt),
    };
    expect(await a.frontEnd.setVringAddress(moved)).toBe(1n);
    for (let i = 0; i < (packed ? 100 : 300); i++) await fixture().goodPasses(a);
  });

  if (packed) {
    test('a base outside the ring: it does not start', async () => {
      const a = await fixture().attacker({ packed });
      await fixture().goodPasses(a);
      const good = await a.stopRing(1);
      for (const base of [256, 0x7fff, 0x8100, 0xffffffff]) {
        await expect(a.startRing(1, base), `${base}`).rejects.toThrow('ring 1');
        await fixture().daemon.untilState('a', 'connected');
      }
      await a.startRing(1, good);
      await fixture().goodPasses(a);
    });
  } else {
    test('a base beyond 65535', async () => {
      const a = await fixture().attacker({ packed });
      for (const base of [65536, 0xffffffff]) {
        const answer = await a.frontEnd.setVringBase(2, base);
        expect(answer, `${base}`).toBe(1n);
      }
      await fixture().goodPasses(a);
    });
  }

  const PLACES: [string, (a: Vm, good: VringAddress) => Partial<VringAddress>][] = [
    ['descriptors not at 16', (_, good) => ({ descriptors: good.descriptors + 8n })],
    ['available ring at an odd address', (_, good) => ({ available: good.available + 1n })],
    ['used ring not at 4', (_, good) => ({ used: good.used + 2n })],
    ['descriptors in the hole', () => ({ descriptors: 0x7f12_0000_0000n + 0xb0000n })],
    ['used ring at 0', () => ({ used: 0n })],
    ['available ring at 2^64 - 16', () => ({ available: (1n << 64n) - 16n })],
    [
      'descriptors at guest addresses',
      (a) => ({ descriptors: BigInt(a.transmitQueue().descriptorsAt) }),
    ],
    ['the last descriptor outside', (a) => ({ descriptors: endOf(a) - 256n * 16n + 16n })],
  ];
  if (packed) {
    PLACES.push(
      ['the device event area outside', (a) => ({ used: endOf(a) })],
      ['the driver event area outside', (a) => ({ available: endOf(a) })],
    );
  } else {
    PLACES.push(
      ['the last used entry outside', (a) => ({ used: endOf(a) - 256n * 8n })],
      ['the last available entry outside', (a) => ({ available: endOf(a) - 256n * 2n })],
    );
  }

  for (const [name, lie] of PLACES) {
    test(`${name}: the ring does not start`, async () => {
      const a = await fixture().attacker({ packed });
      await fixture().goodPasses(a);
      const base = await a.stopRing(1);
      const queue = a.transmitQueue();
      const good: VringAddress = {
        index: 1,
        descriptors: a.memory.userAddress(queue.descriptorsAt),
        available: a.memory.userAddress(queue.availableAt),
        used: a.memory.userAddress(queue.usedAt),
      };
      await a.frontEnd.setVringBase(1, base);
      expect(await a.frontEnd.setVringAddress({ ...good, ...lie(a, good) })).toBe(1n);
      expect((await fixture().daemon.vm('a')).lastError).toMatch(/^SET_VRING_ADDR: /);
      // One that never had addresses does not start; this one has those of before.
      const before = a.memory.digest();
      const bell = queue.kickDescriptor;
      expect(await a.frontEnd.setVringNumber(3, queue.size)).toBe(0n);
      const other = { ...good, ...lie(a, good), index: 3 };
      expect(await a.frontEnd.setVringAddress(other)).toBe(1n);
      expect(await a.frontEnd.setVringDescriptor(REQUEST.SET_VRING_KICK, 3, bell)).toBe(0n);
      queue.kick();
      await fixture().flow.advance();
      expect(a.memory.digest(), 'nothing was written').toBe(before);
      expect(await a.stopRing(3), 'it never ran').toBe(packed ? 0x8000_8000 : 0);
      // with honest addresses it works again
      await a.stopRing(1);
      await a.startRing(1, base);
      await fixture().goodPasses(a);
      expect((await fixture().daemon.vm('a')).lastError).toBe('');
    });
  }

  test('a start before size and addresses: it starts once they are there', async () => {
    const a = await fixture().attacker({ packed });
    const base = await a.stopRing(1);
    const queue = a.transmitQueue();
    // One without a size or addresses stays as it is.
    expect(await a.stopRing(3)).toBe(packed ? 0x8000_8000 : 0);
    const order = [
      () => a.frontEnd.setVringBase(1, base),
      () => a.frontEnd.setVringDescriptor(REQUEST.SET_VRING_KICK, 1, queue.kickDescriptor),
      () => a.frontEnd.setVringDescriptor(REQUEST.SET_VRING_CALL, 1, queue.callDescriptor),
      () => a.frontEnd.setVringNumber(1, queue.size),
      () => a.setAddress(1),
    ];
    for (const say of order) expect(await say()).toBe(0n);
    await fixture().daemon.untilState('a', 'running');
    await fixture().goodPasses(a);
  });

  test('a start before the memory: it starts once that is there, and not if it is stopped first', async () => {
    for (const stops of [false, true]) {
      const a = await fixture().connectedAttacker({ packed });
      await a.negotiate();
      a.createQueues();
      await a.applyFeatures();
      for (const index of [0, 1]) {
        await a.startRing(index);
        await a.enable(index, true);
      }
      if (stops) for (const index of [0, 1]) await a.stopRing(index);
      await a.shareMemory();
      a.fillReceive();
      if (stops) await fixture().daemon.untilState('a', 'connected');
      else await fixture().goodPasses(a);
      a.close();
      await fixture().daemon.untilState('a', 'waiting');
    }
  });

  test('rings that lie over each other harm nobody', async () => {
    const a = await fixture().attacker({ packed });
    const base = await a.stopRing(1);
    const queue = a.transmitQueue();
    const place = a.memory.userAddress(queue.descriptorsAt);
    await a.frontEnd.setVringBase(1, base);
    await a.frontEnd.setVringAddress({
      index: 1,
      descriptors: place,
      available: place,
      used: place,
    });
    await a.frontEnd.setVringDescriptor(REQUEST.SET_VRING_KICK, 1, queue.kickDescriptor);
    for (let i = 0; i < 20; i++) queue.kick();
    await fixture().flow.advance(50);
    await a.stopRing(1);
    queue.reset();
    await a.startRing(1);
    await fixture().goodPasses(a);
  });

  test('log flags and addresses without LOG_ALL are of no consequence', async () => {
    const a = await fixture().attacker({ packed });
    const base = await a.stopRing(1);
    const queue = a.transmitQueue();
    await a.frontEnd.setVringNumber(1, queue.size);
    await a.frontEnd.setVringBase(1, base);
    await a.frontEnd.setVringAddress({
      index: 1,
      flags: 0,
      descriptors: a.memory.userAddress(queue.descriptorsAt),
      available: a.memory.userAddress(queue.availableAt),
      used: a.memory.userAddress(queue.usedAt),
      log: (1n << 64n) - 1n,
    });
    await a.frontEnd.setVringDescriptor(REQUEST.SET_VRING_KICK, 1, queue.kickDescriptor);
    await fixture().goodPasses(a);
    await until(
      'the ring to be served',
      () => a.transmitQueue().usedCount === a.transmitQueue().next,
    );
  });
});

function endOf(a: Vm): bigint {
  const last = a.memory.regions.at(-1)!;
  return last.userAddress + last.size;
}
