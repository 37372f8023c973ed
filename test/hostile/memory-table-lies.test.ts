/**
 * Ranked case 13: memory regions that overlap, wrap, end nowhere or are no memory. Refused, nothing mapped; the valid table before it and
 * the running rings keep working.
 */
import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { native } from '../../src/native.ts';
import { useFixture } from '../support/fixture.ts';
import {
  memoryTable,
  PROTOCOL_FEATURE,
  REQUEST,
  type RegionFields,
  singleRegion,
} from '../support/protocol.ts';
import type { Vm } from '../support/vm.ts';

const TOP = (1n << 64n) - 4096n;
const GOOD: RegionFields = {
  guestAddress: 0x4000_0000n,
  size: 65536n,
  userAddress: 0x7000_0000_0000n,
  mapOffset: 0n,
};

const ONE: Record<string, Partial<RegionFields>> = {
  'size 0': { size: 0n },
  'user address inside a page': { userAddress: GOOD.userAddress + 2n },
  'guest address inside a page': { guestAddress: GOOD.guestAddress + 2n },
  'size of half a page': { size: 2048n },
  'offset inside a page': { mapOffset: 2n, size: 4096n },
  'guest address wraps': { guestAddress: TOP },
  'user address wraps': { userAddress: TOP },
  'offset wraps': { mapOffset: TOP },
  'offset plus size wraps': { mapOffset: (1n << 64n) - 65536n, size: 65536n },
  'offset beyond the end of the file': { mapOffset: 1n << 30n },
  'size beyond the end of the file': { size: 1n << 30n },
  'size 2^63': { size: 1n << 63n },
  'size 2^64 - 1': { size: (1n << 64n) - 1n },
};

describe('the memory table lies', () => {
  const fixture = useFixture();

  /** The request is refused, and the rings still work with the memory they had. */
  async function refused(
    a: Vm,
    request: number,
    payload: Buffer,
    descriptors: number[],
  ): Promise<void> {
    const mappings = fixture().daemon.guestMappings().length;
    const answer = await a.frontEnd.askNumber(request, payload, { needReply: true, descriptors });
    expect(answer, 'the answer').toBe(1n);
    await fixture().daemon.untilMappings(mappings);
    await fixture().goodPasses(a);
  }

  const slots = () => fixture().attacker();
  const table = () => fixture().attacker({ protocolFeatures: PROTOCOL_FEATURE.REPLY_ACK });

  for (const [name, lie] of Object.entries(ONE)) {
    test(`${name}: ADD_MEM_REG and SET_MEM_TABLE`, async () => {
      const memory = native.memfd('guest-memory', 1 << 20, false);
      try {
        let a = await slots();
        await refused(a, REQUEST.ADD_MEM_REG, singleRegion({ ...GOOD, ...lie }), [memory]);
        a.close();
        a = await table();
        await refused(a, REQUEST.SET_MEM_TABLE, memoryTable([{ ...GOOD, ...lie }]), [memory]);
      } finally {
        native.closeDescriptor(memory);
      }
    });
  }

  const COUNTS: [string, number, number, number][] = [
    // name, stated count, regions sent, descriptors sent
    ['no region', 0, 0, 0],
    ['nine regions', 9, 9, 9],
    ['2^32 - 1 regions', 0xffffffff, 1, 1],
    ['more stated than sent', 3, 2, 2],
    ['fewer stated than sent', 1, 2, 2],
    ['fewer descriptors than regions', 2, 2, 1],
    ['more descriptors than regions', 1, 1, 2],
    ['no descriptor', 1, 1, 0],
  ];
  for (const [name, stated, sent, count] of COUNTS) {
    test(name, async () => {
      const memory = native.memfd('guest-memory', 1 << 20, false);
      try {
        const a = await table();
        const regions = Array.from({ length: sent }, (_, i) => ({
          ...GOOD,
          guestAddress: BigInt(i) << 20n,
          userAddress: GOOD.userAddress + (BigInt(i) << 20n),
        }));
        const payload = memoryTable(regions, stated);
        await refused(a, REQUEST.SET_MEM_TABLE, payload, Array<number>(count).fill(memory));
      } finally {
        native.closeDescriptor(memory);
      }
    });
  }

  test('a table whose last region can’t be mapped: nothing of the others stays', async () => {
    const a = await table();
    const memory = native.memfd('guest-memory', 65536, false);
    try {
      const beyond = {
        guestAddress: GOOD.guestAddress + GOOD.size,
        size: GOOD.size,
        userAddress: GOOD.userAddress + GOOD.size,
        mapOffset: GOOD.size,
      };
      await refused(a, REQUEST.SET_MEM_TABLE, memoryTable([GOOD, beyond]), [memory, memory]);
    } finally {
      native.closeDescriptor(memory);
    }
  });

  test('regions that overlap', async () => {
    const memory = native.memfd('guest-memory', 1 << 20, false);
    try {
      let a = await table();
      for (const second of [
        { guestAddress: GOOD.guestAddress + 4096n, userAddress: 0x7100_0000_0000n },
        { guestAddress: 0x8000_0000n, userAddress: GOOD.userAddress + 4096n },
        {},
      ]) {
        const payload = memoryTable([GOOD, { ...GOOD, ...second }]);
        await refused(a, REQUEST.SET_MEM_TABLE, payload, [memory, memory]);
      }
      a.close();
      a = await slots();
      const own = a.memory.regions[1];
      for (const region of [
        { ...GOOD, guestAddress: own.guestAddress + 4096n },
        { ...GOOD, userAddress: own.userAddress + 4096n },
        own,
      ]) {
        await refused(a, REQUEST.ADD_MEM_REG, singleRegion(region), [memory]);
      }
    } finally {
      native.closeDescriptor(memory);
    }
  });

  test('more than one front-end may share, in regions of which each alone is allowed', async () => {
    // As long as a file may look; nobody has so much.
    const bytes = 2 ** 41;
    const memory = native.memfd('guest-memory', bytes, false);
    try {
      const a = await table();
      const regions = [0n, 1n, 2n].map((index) => ({
        guestAddress: index << 41n,
        size: BigInt(bytes),
        userAddress: index << 41n,
        mapOffset: 0n,
      }));
      await refused(a, REQUEST.SET_MEM_TABLE, memoryTable(regions), [memory, memory, memory]);
    } finally {
      native.closeDescriptor(memory);
    }
  });

  test('removing a region that was never added', async () => {
    const a = await slots();
    await refused(a, REQUEST.REM_MEM_REG, singleRegion(GOOD), []);
    const own = a.memory.regions[1];
    for (const region of [
      { ...own, size: own.size - 4096n },
      { ...own, guestAddress: own.guestAddress + 4096n },
      { ...own, userAddress: own.userAddress + 4096n },
    ]) {
      await refused(a, REQUEST.REM_MEM_REG, singleRegion(region), []);
    }
  });

  test('what is no memory: a disk file, a folder, a socket, an eventfd, read-only', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'basewire-regions-'));
    writeFileSync(join(folder, 'file'), Buffer.alloc(65536));
    const [one, other] = native.unixPair();
    const sealed = native.memfd('guest-memory', 65536, false);
    const descriptors = {
      folder: openSync(folder, 'r'),
      socket: one,
      eventfd: native.eventfd(),
      'read-only memory': openSync(`/proc/self/fd/${sealed}`, 'r'),
      'a device': openSync('/dev/zero', 'r+'),
    };
    try {
      const a = await slots();
      for (const [name, descriptor] of Object.entries(descriptors)) {
        const answer = await a.frontEnd.addRegion({ ...GOOD, descriptor });
        expect(answer, name).toBe(1n);
      }
      await fixture().goodPasses(a);
    } finally {
      for (const descriptor of Object.values(descriptors)) closeSync(descriptor);
      closeSync(other);
      closeSync(sealed);
      rmSync(folder, { recursive: true });
    }
  });

  test('more regions than 509 slots', async () => {
    const a = await slots();
    const memory = native.memfd('guest-memory', 4096, false);
    try {
      const held = a.memory.regions.length;
      const region = (i: number) => ({
        guestAddress: 0x4000_0000n + BigInt(i) * 8192n,
        size: 4096n,
        userAddress: 0x7000_0000_0000n + BigInt(i) * 8192n,
        mapOffset: 0n,
        descriptor: memory,
      });
      for (let i = held; i < 509; i++)
        expect(await a.frontEnd.addRegion(region(i)), `${i}`).toBe(0n);
      expect(await a.frontEnd.addRegion(region(509))).toBe(1n);
      await fixture().goodPasses(a);
      for (let i = held; i < 509; i++) expect(await a.frontEnd.removeRegion(region(i))).toBe(0n);
      await fixture().goodPasses(a);
    } finally {
      native.closeDescriptor(memory);
    }
  });

  test('without acknowledgements: nothing is said, the valid table stays', async () => {
    const a = await fixture().attacker({ protocolFeatures: 0n });
    const memory = native.memfd('guest-memory', 1 << 20, false);
    try {
      const nacks = await fixture().daemon.count('a', 'nacks');
      const lies = [memoryTable([GOOD, GOOD]), memoryTable([{ ...GOOD, size: 0n }])];
      for (const payload of lies) {
        const descriptors = Array<number>(payload.readUInt32LE(0)).fill(memory);
        await a.frontEnd.send(REQUEST.SET_MEM_TABLE, payload, { needReply: true, descriptors });
        await fixture().goodPasses(a);
      }
      await fixture().daemon.untilCount('a', 'nacks', nacks + lies.length);
    } finally {
      native.closeDescriptor(memory);
    }
  });

  test('the region of running rings is taken away: they are broken, and go on when it is back', async () => {
    const a = await slots();
    await fixture().goodPasses(a);
    const { daemon } = fixture();
    const faults = await daemon.count('a', 'memoryFaults');
    const broken = await daemon.count('a', 'ringsBroken');
    for (const queue of a.queues) queue.errors();
    const ring = a.memory.regions[1];
    expect(await a.frontEnd.removeRegion(ring)).toBe(0n);
    await daemon.untilCount('a', 'ringsBroken', broken + 2);
    await daemon.untilState('a', 'broken');
    for (const queue of a.queues) expect(queue.errors()).toBeGreaterThan(0);
    const digest = a.memory.digest();
    for (let i = 0; i < 10; i++) a.transmitQueue().kick();
    await fixture().flow.advance(50);
    expect(a.memory.digest(), 'nothing was written').toBe(digest);
    expect(await daemon.count('a', 'memoryFaults')).toBe(faults);
    expect(await a.frontEnd.addRegion(ring)).toBe(0n);
    await daemon.untilState('a', 'running');
    await fixture().goodPasses(a);
  });
});
