/**
 * Ranked case 15: the steps of a ring's life in any order and any number, against a model of the ring states: a stopped ring is not
 * touched, a disabled one is drained and discarded, a running one delivers, whatever happened before.
 */
import fc from 'fast-check';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { BOTH_FORMATS, FORMATS } from '../support/formats.ts';
import { parse } from '../support/packets.ts';
import { REQUEST } from '../support/protocol.ts';
import { LONG } from '../support/random.ts';
import { A, B, udpFrame } from '../support/traffic.ts';
import { until } from '../support/until.ts';
import type { Vm } from '../support/vm.ts';
import { World } from '../support/world.ts';

const STEPS = [
  'start',
  'stop',
  'stop again',
  'enable',
  'disable',
  'send',
  'kick',
  'memory',
  'call',
  'features',
  'owner',
] as const;
type Step = (typeof STEPS)[number];

/** What the specification says of ring 1. */
interface Model {
  started: boolean;
  enabled: boolean;
  /** Sent and not yet taken by the device. */
  pending: number[];
  /** Must arrive at b, in this order. */
  expected: number[];
  discarded: number;
  next: number;
}

let world: World;
beforeAll(async () => {
  world = await World.start(BOTH_FORMATS);
});
afterEach(() => world.release());
afterAll(() => world?.close());

describe.each(FORMATS)('any order of steps: $format', ({ packed }) => {
  function settle(model: Model): void {
    if (!model.started) return;
    if (model.enabled) model.expected.push(...model.pending);
    else model.discarded += model.pending.length;
    model.pending = [];
  }

  async function take(a: Vm, model: Model, step: Step): Promise<void> {
    const queue = a.transmitQueue();
    switch (step) {
      case 'start':
        if (model.started) return;
        await a.startRing(1, queue.usedBase);
        model.started = true;
        break;
      case 'stop':
      case 'stop again': {
        const base = await a.stopRing(1);
        if (model.started || step === 'stop again') expect(base).toBe(queue.usedBase);
        model.started = false;
        break;
      }
      case 'enable':
      case 'disable':
        await a.enable(1, step === 'enable');
        model.enabled = step === 'enable';
        break;
      case 'send':
        if (!a.trySend(udpFrame(A, B.ip, Buffer.from(`${model.next}`)))) return;
        model.pending.push(model.next++);
        break;
      case 'kick':
        queue.kick();
        break;
      case 'memory':
        await a.frontEnd.removeRegion(a.memory.regions[0]);
        await a.frontEnd.addRegion(a.memory.regions[0]);
        break;
      case 'call':
        await a.frontEnd.setVringDescriptor(REQUEST.SET_VRING_CALL, 1, queue.callDescriptor);
        break;
      case 'features':
        if (!model.started) await a.applyFeatures();
        break;
      case 'owner':
        await a.frontEnd.getFeatures();
        break;
    }
    settle(model);
    await check(a, model);
  }

  /** The device has taken what it must and nothing else. */
  async function check(a: Vm, model: Model): Promise<void> {
    const queue = a.transmitQueue();
    const taken = (queue.next - model.pending.length) & 0xffff;
    await until(`${taken} chains to come back`, () => queue.usedCount === taken);
    if (!model.started) {
      const digest = a.memory.digest();
      await a.frontEnd.getFeatures();
      expect(a.memory.digest(), 'a stopped ring is not touched').toBe(digest);
    }
  }

  test('the model holds', { timeout: LONG ? 1_800_000 : 120_000 }, async () => {
    const b = await world.vm('b');
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.constantFrom(...STEPS), { minLength: 5, maxLength: 40 }),
        async (steps) => {
          await world.daemon.untilState('a', 'waiting');
          const a = await world.connected('a', {
            packed,
            queueSize: 64,
            memory: {
              regions: [
                { guestAddress: 0, bytes: 65536 },
                { guestAddress: 0x100000, bytes: 2 << 20 },
              ],
            },
          });
          try {
            await a.negotiate();
            a.createQueues();
            await a.applyFeatures();
            await a.shareMemory();
            const before = await world.daemon.count('a', 'ringDisabled');
            const model: Model = {
              started: false,
              enabled: false,
              pending: [],
              expected: [],
              discarded: 0,
              next: 0,
            };
            for (const step of steps) await take(a, model, step);
            const arrived: number[] = [];
            while (arrived.length < model.expected.length) {
              arrived.push(Number(parse((await b.receive()).frame).udp!.payload.toString()));
            }
            expect(arrived).toEqual(model.expected);
            await world.daemon.untilCount('a', 'ringDisabled', before + model.discarded);
            expect(b.received).toEqual([]);
          } finally {
            a.close();
          }
        },
      ),
      { numRuns: LONG ? 3000 : 15, endOnFailure: true },
    );
  });
});
