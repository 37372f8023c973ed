/** Ranked case 12: descriptors where none belong, too many, too few, or with a later byte. None is left open in the base. */
import { writeSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { native } from '../../src/native.ts';
import { useFixture } from '../support/fixture.ts';
import { ConnectionClosed, encodeMessage, type FrontEnd } from '../support/frontend.ts';
import { memoryTable, REQUEST, u64, vringState } from '../support/protocol.ts';
import { LONG } from '../support/random.ts';
import { until } from '../support/until.ts';
import { QEMU_PROTOCOL_FEATURES } from '../support/vm.ts';

describe('surplus descriptors', () => {
  const fixture = useFixture();

  /** Runs `work` with descriptors to give away, and shows that the base has none of them in the end. */
  async function withDescriptors(
    count: number,
    work: (front: FrontEnd, descriptors: number[]) => Promise<void>,
  ): Promise<void> {
    const descriptors = Array.from({ length: count }, () => native.eventfd());
    const a = await fixture().connectedAttacker();
    try {
      await a.frontEnd.negotiate(QEMU_PROTOCOL_FEATURES);
      await work(a.frontEnd, descriptors);
    } catch (error) {
      if (!(error instanceof ConnectionClosed)) throw error;
    } finally {
      for (const descriptor of descriptors) native.closeDescriptor(descriptor);
      a.close();
    }
    await fixture().goodPasses(await fixture().attacker());
  }

  test('with requests that take none: none stays open', async () => {
    await withDescriptors(8, async (front, descriptors) => {
      const before = fixture().daemon.descriptors().length;
      const rounds = LONG ? 100000 : 2000;
      for (let i = 0; i < rounds && !front.closed; i++) {
        await front.sendBytes(
          encodeMessage(REQUEST.SET_VRING_ENABLE, vringState(0, 0)),
          descriptors,
        );
        if (i % 100 === 0) {
          front.poll();
          expect(fixture().daemon.descriptors().length).toBeLessThan(before + 20);
        }
      }
    });
  });

  test('253 with one message', async () => {
    await withDescriptors(253, async (front, descriptors) => {
      for (let i = 0; i < 10 && !front.closed; i++) {
        await front.sendBytes(encodeMessage(REQUEST.GET_FEATURES), descriptors);
        front.poll();
      }
    });
  });

  test('nine with a memory table of eight', async () => {
    await withDescriptors(9, async (front, descriptors) => {
      const region = { guestAddress: 0n, size: 4096n, userAddress: 1n << 40n, mapOffset: 0n };
      await front.sendBytes(
        encodeMessage(REQUEST.SET_MEM_TABLE, memoryTable(Array(8).fill(region))),
        descriptors,
      );
      await front.getFeatures();
    });
  });

  test('two where one belongs', async () => {
    await withDescriptors(2, async (front, descriptors) => {
      const refused = await front.askNumber(REQUEST.SET_VRING_CALL, u64(0n), {
        needReply: true,
        descriptors,
      });
      expect(refused).not.toBe(0n);
    });
  });

  test('none where one belongs', async () => {
    await withDescriptors(0, async (front) => {
      for (const request of [
        REQUEST.SET_VRING_KICK,
        REQUEST.SET_VRING_CALL,
        REQUEST.SET_VRING_ERR,
      ]) {
        // index without the no-descriptor bit
        expect(await front.askNumber(request, u64(0n), { needReply: true })).not.toBe(0n);
      }
    });
  });

  test('with a later byte of the message', async () => {
    await withDescriptors(2, async (front, descriptors) => {
      const message = encodeMessage(REQUEST.SET_VRING_CALL, u64(0n), { needReply: true });
      await front.sendBytes(message.subarray(0, 5));
      await fixture().flow.advance(4);
      await front.sendBytes(message.subarray(5), descriptors);
      expect((await front.reply()).payload.readBigUInt64LE()).not.toBe(0n);
    });
  });

  test('the same descriptors again and again', async () => {
    await withDescriptors(1, async (front, descriptors) => {
      const before = fixture().daemon.descriptors().length;
      for (let i = 0; i < 500; i++) {
        // a kick descriptor starts the ring, which has no addresses yet: that may be refused
        await front.setVringDescriptor(REQUEST.SET_VRING_KICK, i % 4, descriptors[0]);
        for (const request of [REQUEST.SET_VRING_CALL, REQUEST.SET_VRING_ERR]) {
          expect(await front.setVringDescriptor(request, i % 4, descriptors[0])).toBe(0n);
        }
      }
      expect(fixture().daemon.descriptors().length).toBeLessThanOrEqual(before + 12);
    });
  });

  test('what is no eventfd is refused as kick, call and err', async () => {
    await withDescriptors(0, async (front) => {
      const [one, other] = native.unixPair();
      const memory = native.memfd('no-eventfd', 4096, false);
      try {
        for (const descriptor of [one, memory]) {
          for (const request of [
            REQUEST.SET_VRING_KICK,
            REQUEST.SET_VRING_CALL,
            REQUEST.SET_VRING_ERR,
          ]) {
            expect(await front.setVringDescriptor(request, 0, descriptor)).not.toBe(0n);
          }
        }
      } finally {
        for (const descriptor of [one, other, memory]) native.closeDescriptor(descriptor);
      }
    });
  });

  test('a saturated call descriptor blocks nobody', async () => {
    const a = await fixture().attacker();
    const most = Buffer.alloc(8);
    most.writeBigUInt64LE(0xfffffffffffffffen);
    a.receiveQueue().interrupts();
    writeSync(a.receiveQueue().callDescriptor, most);
    for (let i = 0; i < 10; i++) {
      await fixture().goodPasses(a);
    }
    await fixture().flow.advance();
    await until('the ring to work', () => a.transmitQueue().outstanding >= 0);
  });
});
