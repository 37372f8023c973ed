/** What a standstill takes from a lease, to the millisecond; the clock is the test's. With a daemon that is stopped: test/way/lease-stood-still.test.ts. */
import { afterAll, expect, test } from 'vitest';
import { Base } from '../../src/base/base.ts';
import { Counters } from '../../src/counters.ts';
import { native } from '../../src/native.ts';
import { uplink } from '../control/rig.ts';
import { lanPlan } from '../support/lan-plan.ts';
import { A } from '../support/traffic.ts';

/** All in milliseconds. */
const LEASE = 3000;
/** Between two runs of the timers while a lease runs. */
const LOOK = 250;

let now = 100_000;
/** When a lease ended last. */
let ended = 0;

const plan = lanPlan([{ addresses: [A.ip], management: true }]);
plan.adapters.push(uplink({ controllers: [0], leaseSeconds: LEASE / 1000 }));
const base = new Base(
  native,
  plan,
  new Counters(2).buffer,
  (message) => {
    if (message.kind === 'log' && message.message === 'lease of vm0 ended') ended = now;
  },
  () => now,
);
afterAll(() => base.close());

/** The base's clock goes on until `time`; timers run when it wants them to. */
function runTo(time: number): void {
  while (now < time) now = Math.min(time, now + Math.max(1, base.tick(now)));
}

test('timers run once a second while nobody holds an adapter', () => {
  expect(base.tick(now)).toBe(1000);
});

test.each([501, 600, 999, 1400, 3000])(
  'a lease lasts a standstill of %i ms longer, less a quarter of a second at most',
  (stood) => {
    for (let since = 0; since < LOOK; since += 50) {
      const start = now;
      const lease = { adapter: 'uplink', holder: 'vm0', secondsLeft: LEASE / 1000 };
      base.restore({ version: 1, leases: { version: 1, adapters: [lease] } });
      runTo(start + 4 * LOOK + since);
      now += stood;
      runTo(start + 3 * LEASE);
      expect(ended - start, `${since}`).toBeGreaterThanOrEqual(LEASE + stood - LOOK);
      expect(ended - start, `${since}`).toBeLessThanOrEqual(LEASE + stood);
    }
  },
);
