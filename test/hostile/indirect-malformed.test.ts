/**
 * Ranked case 6: indirect tables of impossible sizes and places, nested, not negotiated: recycled. What looks odd but must work is
 * delivered.
 */
import { describe, expect, test } from 'vitest';
import { DESC } from '../support/driver.ts';
import { useFixture } from '../support/fixture.ts';
import { BOTH_FORMATS, FORMATS } from '../support/formats.ts';
import { parse } from '../support/packets.ts';
import { A, B, udpFrame } from '../support/traffic.ts';
import { LINUX_FEATURES, type Vm } from '../support/vm.ts';
import { expectDropped, liesOf } from './attack.ts';

/** Two regions, one behind the other for the guest and not for us. */
const ADJACENT = [
  { guestAddress: 0, bytes: 0x800000 },
  { guestAddress: 0x800000, bytes: 0x800000, userAddress: 0x7e00_0000_0000n },
];
import { BAD_INDIRECT, honestIndirect } from './chains.ts';

const fixture = useFixture(BOTH_FORMATS);

describe.each(FORMATS)('an indirect table is malformed: $format', ({ packed }) => {
  for (const lie of liesOf(BAD_INDIRECT, packed)) {
    test(lie.name, async () => {
      const a = await fixture().attacker({ features: LINUX_FEATURES & ~(lie.lacks ?? 0n), packed });
      await expectDropped(fixture(), a, lie);
    });
  }

  async function expectDelivered(a: Vm, text: string): Promise<void> {
    a.transmitQueue().publish();
    const { frame } = await fixture().flow.other(fixture().b);
    expect(parse(frame).udp?.payload.toString()).toBe(text);
    await a.untilSent();
    await fixture().goodPasses(a);
  }

  test('WRITE on the descriptor of the table is ignored (a device must)', async () => {
    const a = await fixture().attacker({ packed });
    const chain = honestIndirect(a, 2);
    a.transmitQueue().rewrite(chain, 0, { flags: DESC.indirect | DESC.write });
    await expectDelivered(a, 'a lie');
  });

  // In packed rings a table stands alone (2.8.20), and its entries have no `next`.
  if (!packed) {
    test('direct descriptors followed by a table work (a device must)', async () => {
      const a = await fixture().attacker({ packed });
      const queue = a.transmitQueue();
      const frame = udpFrame(A, B.ip, Buffer.from('mixed'));
      const chain = queue.add([{ data: Buffer.alloc(12) }, { data: Buffer.alloc(200) }])!;
      const table = chain.parts[1].address;
      const at = table + 64;
      a.memory.bytes(at, frame.length).set(frame);
      queue.writeEntry(table, 0, { address: at, length: 20, flags: DESC.next, next: 1 });
      queue.writeEntry(table, 1, { address: at + 20, length: frame.length - 20 });
      queue.rewrite(chain, 1, { length: 32, flags: DESC.indirect });
      await expectDelivered(a, 'mixed');
    });

    test('entries of a table in any order work', async () => {
      const a = await fixture().attacker({ packed });
      const queue = a.transmitQueue();
      const { table, parts } = honestIndirect(a, 4);
      const places = [0, 3, 1, 2]; // the chain runs 0 -> 3 -> 1 -> 2
      places.forEach((place, i) => {
        const next = places[i + 1];
        const { address, length } = parts[i];
        const flags = next === undefined ? 0 : DESC.next;
        queue.writeEntry(table, place, { address, length, flags, next: next ?? 0 });
      });
      await expectDelivered(a, 'a lie');
    });
  }

  test('a table over two adjacent regions is put together', async () => {
    const a = await fixture().attacker({
      packed,
      memory: { regions: ADJACENT },
    });
    const chain = honestIndirect(a, 3);
    const queue = a.transmitQueue();
    const border = 0x800000 - 16;
    const bytes = Buffer.from(a.memory.bytes(chain.table, 48));
    a.memory.bytes(border, 16).set(bytes.subarray(0, 16));
    const saved = Buffer.from(a.memory.bytes(0x800000, 32));
    a.memory.bytes(0x800000, 32).set(bytes.subarray(16));
    queue.rewrite(chain, 0, { address: border });
    await expectDelivered(a, 'a lie');
    a.memory.bytes(0x800000, 32).set(saved);
  });

  test('a table that ends behind two adjacent regions', async () => {
    const a = await fixture().attacker({
      packed,
      memory: { regions: ADJACENT },
    });
    await expectDropped(fixture(), a, {
      name: 'two entries at the end of memory and one behind it',
      reason: 'chainBadIndirect',
      tell() {
        const chain = honestIndirect(a, 2);
        a.transmitQueue().rewrite(chain, 0, { address: 0x1000000 - 32, length: 48 });
      },
    });
  });

  test('a buffer over two adjacent regions is put together', async () => {
    const a = await fixture().attacker({
      packed,
      memory: { regions: ADJACENT },
    });
    const queue = a.transmitQueue();
    const bytes = Buffer.concat([Buffer.alloc(12), udpFrame(A, B.ip, Buffer.alloc(300, 0x61))]);
    const border = 0x800000 - 100;
    const saved = Buffer.from(a.memory.bytes(0x800000, 300));
    a.memory.bytes(border, 100).set(bytes.subarray(0, 100));
    a.memory.bytes(0x800000, bytes.length - 100).set(bytes.subarray(100));
    const chain = queue.add([{ data: Buffer.alloc(1) }])!;
    queue.rewrite(chain, 0, { address: border, length: bytes.length });
    await expectDelivered(a, 'a'.repeat(300));
    a.memory.bytes(0x800000, 300).set(saved);
  });
});
