/**
 * Whatever is passed to the addon, it answers or throws a JavaScript error; it never crashes and never takes a
 * strange value for a descriptor of somebody else's.
 */
import fc from 'fast-check';
import { afterAll, expect, test } from 'vitest';
import { native } from '../../src/native.ts';

/** Strange values, but no small integer >= 0: that could be a descriptor of the test runner. */
const strange = fc.oneof(
  fc.constantFrom(undefined, null, true, false, '', 'x', '\0', Number.NaN, -0.5, 0.5, -1, 2 ** 40),
  fc.constantFrom(Number.POSITIVE_INFINITY, -(2 ** 31), 2 ** 31, 2 ** 53, 1e308, 5n, Symbol('s')),
  fc.constantFrom({}, [], () => 1, new Uint8Array(3), new Int32Array(3), new Float64Array(2)),
  fc.constantFrom(new ArrayBuffer(8), new DataView(new ArrayBuffer(8)), new SharedArrayBuffer(8)),
  fc.constantFrom(new Uint8Array(new SharedArrayBuffer(8)), new Proxy({}, {}), new Date()),
  fc.integer({ min: 100_000 }),
);

const waiter = native.createWaiter(2);
afterAll(() => waiter.close());

const functions = Object.entries(native).filter(([, value]) => typeof value === 'function');
/** These make something out of nothing; a run would pile up descriptors. */
const makers = new Set([
  'eventfd',
  'unixPair',
  'netlinkOpen',
  'memfd',
  'createWaiter',
  'createArena',
  'packetSocket',
]);

test('the addon has every function of its contract', () => {
  expect(functions.map(([name]) => name).sort()).toEqual(
    [
      'mapRegion mapPacketRings viewRegion unmapRegion takeFaultedRegions createArena gatherCopies',
      'deliverCopies sumRanges eventfd signal signalAll drain createWaiter unixListen unixConnect unixAccept',
      'unixPair peerCredentials socketError socketKind receive send closeDescriptor closePassed',
      'closeConnection closing unmapping',
      'isSharedMemory isEventfd duplicate setNonBlocking packetOpen',
      'packetDoorbell packetSocket packetSend packetStatistics packetClose interfaceInfo netlinkOpen',
      'memfd truncate executeWithout setCores setDumpable readClock readWorked',
    ]
      .join(' ')
      .split(' ')
      .sort(),
  );
  expect(native.faults).toBeInstanceOf(Int32Array);
  expect(native.clock).toBeInstanceOf(Float64Array);
});

test.each(functions.filter(([name]) => !makers.has(name)))(
  '%s survives strange arguments',
  (_, call) => {
    fc.assert(
      fc.property(fc.array(strange, { maxLength: 7 }), (values) => {
        try {
          (call as (...values: unknown[]) => unknown)(...values);
        } catch (error) {
          expect(error).toBeInstanceOf(Error);
        }
      }),
      { numRuns: process.env.BASEWIRE_LONG ? 50_000 : 500 },
    );
  },
);

test.each(['add', 'modify', 'remove'] as const)('waiter.%s survives strange arguments', (name) => {
  fc.assert(
    fc.property(fc.array(strange, { maxLength: 5 }), (values) => {
      try {
        (waiter[name] as (...values: unknown[]) => unknown)(...values);
      } catch (error) {
        expect(error).toBeInstanceOf(Error);
      }
    }),
  );
});

test('makers refuse strange arguments', () => {
  for (const call of [
    () => native.memfd(5 as never, 10, true),
    () => native.memfd('x', -1, true),
    () => native.memfd('x', Number.NaN, true),
    () => native.memfd('x', 10, 1 as never),
    () => native.createArena(0, 1),
    () => native.createArena(2 ** 31, 1),
    () => native.createArena(4096, 0),
    () => native.createArena(4096, 2 ** 30),
    () => native.createArena('1' as never, 1),
    () => native.createWaiter('1' as never),
  ]) {
    expect(call).toThrow(Error);
  }
});

test('getters that throw inside options are passed on', () => {
  const options = {
    get interfaceIndex(): number {
      throw new RangeError('from the getter');
    },
  };
  expect(() => native.packetOpen(options as never)).toThrow('from the getter');
});

test('an array over shared or resized memory is taken for what it is now', () => {
  const bytes = new Uint8Array(64);
  structuredClone(bytes.buffer, { transfer: [bytes.buffer] });
  const [left, right] = native.unixPair();
  try {
    expect(() => native.receive(left, bytes, 0, 1, new Int32Array(2))).toThrow(RangeError);
    const fds = new Int32Array(4);
    structuredClone(fds.buffer, { transfer: [fds.buffer] });
    expect(() => native.receive(left, new Uint8Array(4), 0, 1, fds)).toThrow(RangeError);
    expect(() => native.signalAll(fds, 1)).toThrow(TypeError);
  } finally {
    native.closeDescriptor(left);
    native.closeDescriptor(right);
  }
});
