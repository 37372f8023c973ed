/** ADD_MEM_REG and REM_MEM_REG said once more, as QEMU 7.2 does for each further queue pair. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { native } from '../../src/native.ts';
import { parse } from '../support/packets.ts';
import { A, B, udpFrame } from '../support/traffic.ts';
import { until } from '../support/until.ts';
import type { Vm } from '../support/vm.ts';
import { World } from '../support/world.ts';

describe('repeated requests about memory', () => {
  let world: World;
  beforeAll(async () => {
    world = await World.start();
  });
  afterEach(() => world.release());
  afterAll(() => world?.close());

  async function works(a: Vm, b: Vm): Promise<void> {
    await a.send(udpFrame(A, B.ip, Buffer.from('works')));
    expect(parse((await b.receive()).frame).udp?.payload.toString()).toBe('works');
  }

  test('a region that is added again is there once', async () => {
    const a = await world.vm('a');
    const b = await world.vm('b');
    const before = world.daemon.guestMappings().length;
    const region = a.memory.add({ guestAddress: 0x1_4000_0000, bytes: 0x10000 });
    const descriptors = world.daemon.descriptors().length;
    for (let pair = 0; pair < 4; pair++) expect(await a.frontEnd.addRegion(region)).toBe(0n);
    expect(world.daemon.guestMappings().length).toBe(before + 1);
    // Not more, and not at once: connections of the admin interface come and go.
    await until('descriptors as before', () => world.daemon.descriptors().length <= descriptors);
    await works(a, b);
    for (let pair = 0; pair < 4; pair++) expect(await a.frontEnd.removeRegion(region)).toBe(0n);
    await world.daemon.untilMappings(before);
    await works(a, b);
    // And it may come back.
    expect(await a.frontEnd.addRegion(region)).toBe(0n);
    expect(world.daemon.guestMappings().length).toBe(before + 1);
  });

  test('what a whole table has replaced is added anew', async () => {
    const a = await world.vm('a');
    const b = await world.vm('b');
    const regions = [...a.memory.regions];
    const region = a.memory.add({ guestAddress: 0x1_4000_0000, bytes: 0x10000 });
    const before = world.daemon.guestMappings().length;
    expect(await a.frontEnd.addRegion(region)).toBe(0n);
    expect(await a.frontEnd.setMemoryTable(regions)).toBe(0n);
    await world.daemon.untilMappings(before);
    expect(await a.frontEnd.removeRegion(region)).not.toBe(0n);
    expect(await a.frontEnd.addRegion(region)).toBe(0n);
    expect(world.daemon.guestMappings().length).toBe(before + 1);
    await works(a, b);
  });

  test('the same addresses in other memory are no repetition, nor is half of a region', async () => {
    const a = await world.vm('a');
    const region = a.memory.add({ guestAddress: 0x1_4000_0000, bytes: 0x10000 });
    expect(await a.frontEnd.addRegion(region)).toBe(0n);
    const other = native.memfd('guest-memory', 0x20000, false);
    try {
      expect(await a.frontEnd.addRegion({ ...region, descriptor: other })).not.toBe(0n);
      // Nor is another part of the same file.
      expect(await a.frontEnd.removeRegion(region)).toBe(0n);
      expect(await a.frontEnd.addRegion({ ...region, descriptor: other })).toBe(0n);
      const part = { ...region, descriptor: other, mapOffset: 0x10000n };
      expect(await a.frontEnd.addRegion(part)).not.toBe(0n);
    } finally {
      native.closeDescriptor(other);
    }
    const half = { ...region, size: 0x8000n };
    expect(await a.frontEnd.addRegion(half)).not.toBe(0n);
    expect(await a.frontEnd.removeRegion(half)).not.toBe(0n);
    expect(await a.frontEnd.removeRegion(region)).toBe(0n);
    expect(await a.frontEnd.removeRegion(half)).not.toBe(0n);
  });
});
