/** Ranked case 12: descriptors where none belong, too many, too few, or with a later byte. None is left open in the base. */
import { writeSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { native } from '../../src/native.ts';
import { useFixture } from '../support/fixture.ts';
import { encodeMessage, type FrontEnd } from '../support/frontend.ts';
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
        const message = encodeMessage(REQUEST.SET_VRING_ENABLE, vringState(0, 0));
        // Where the thread that closes them gets no processor, the connection ends at its bound.
        await front.sendBytes(message, descriptors).catch(() => front.poll());
        if (i % 100 === 0) {
          front.poll();
          // Another thread closes them: so many may wait (native/passed.cc).
          expect(fixture().daemon.descriptors().length).toBeLessThan(before + 600);
        }
      }
    });
  });

  for (const [name, request, payload] of [
    ['SET_VRING_ENABLE', REQUEST.SET_VRING_ENABLE, vringState(0, 0)],
    ['SET_FEATURES', REQUEST.SET_FEATURES, u64(0n)],
    ['SET_OWNER', REQUEST.SET_OWNER, Buffer.alloc(0)],
  ] as const) {
    for (const count of [1, 8, 253]) {
      test(`${count} with ${name}: refused`, async () => {
        await withDescriptors(count, async (front, descriptors) => {
          const options = { needReply: true, descriptors };
          expect(await front.askNumber(request, payload, options)).toBe(1n);
        });
      });
    }
  }

  test('253 with a request that is answered with data: closed', async () => {
    const a = await fixture().connectedAttacker();
    const descriptors = Array.from({ length: 253 }, () => native.eventfd());
    await a.frontEnd.sendBytes(encodeMessage(REQUEST.GET_FEATURES), descriptors);
    for (const descriptor of descriptors) native.closeDescriptor(descriptor);
    await a.frontEnd.untilClosed();
  });

  test('nine with a memory table of eight: refused, nothing is mapped', async () => {
    await withDescriptors(0, async (front) => {
      const memory = native.memfd('guest-memory', 1 << 20, false);
      try {
        const before = fixture().daemon.guestMappings().length;
        const regions = Array.from({ length: 8 }, (_, i) => ({
          guestAddress: BigInt(i) << 16n,
          size: 65536n,
          userAddress: (1n << 40n) + (BigInt(i) << 16n),
          mapOffset: BigInt(i) << 16n,
        }));
        const table = (count: number) =>
          front.askNumber(REQUEST.SET_MEM_TABLE, memoryTable(regions), {
            needReply: true,
            descriptors: Array<number>(count).fill(memory),
          });
        expect(await table(9)).toBe(1n);
        expect(await table(7)).toBe(1n);
        await fixture().daemon.untilMappings(before);
        expect(await table(8)).toBe(0n);
      } finally {
        native.closeDescriptor(memory);
      }
    });
  });

  test('two where one belongs', async () => {
    await withDescriptors(2, async (front, descriptors) => {
      const options = { needReply: true, descriptors };
      for (const request of [
        REQUEST.SET_VRING_KICK,
        REQUEST.SET_VRING_CALL,
        REQUEST.SET_VRING_ERR,
      ]) {
        expect(await front.askNumber(request, u64(0n), options)).toBe(1n);
      }
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
        expect(await front.askNumber(request, u64(0n), { needReply: true })).toBe(1n);
      }
    });
  });

  test('an event with a descriptor and the bit that says there is none', async () => {
    await withDescriptors(1, async (front, [descriptor]) => {
      for (const request of [
        REQUEST.SET_VRING_KICK,
        REQUEST.SET_VRING_CALL,
        REQUEST.SET_VRING_ERR,
      ]) {
        const options = { needReply: true, descriptors: [descriptor] };
        expect(await front.askNumber(request, u64(0x100n), options)).toBe(1n);
      }
    });
  });

  test.each([5, 12, 15])('with byte %i of the message: closed', async (at) => {
    const { daemon } = fixture();
    const before = await daemon.count('a', 'malformedMessages');
    const a = await fixture().connectedAttacker();
    await a.frontEnd.negotiate(QEMU_PROTOCOL_FEATURES);
    const descriptor = native.eventfd();
    const message = encodeMessage(REQUEST.SET_VRING_CALL, u64(0n), { needReply: true });
    await a.frontEnd.sendBytes(message.subarray(0, at));
    await daemon.status(); // the worker has looked at its sockets for this
    await a.frontEnd.sendBytes(message.subarray(at), [descriptor]);
    native.closeDescriptor(descriptor);
    await a.frontEnd.untilClosed();
    await daemon.untilCount('a', 'malformedMessages', before + 1);
    a.close();
    await fixture().goodPasses(await fixture().attacker());
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
      await until('the others to be closed', () => {
        return fixture().daemon.descriptors().length <= before + 12;
      });
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
            expect(await front.setVringDescriptor(request, 0, descriptor)).toBe(1n);
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
