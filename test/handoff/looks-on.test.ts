/** Behind what another worker handed over, a worker looks on no longer than behind what its own VMs sent. */
import { afterAll, expect, test } from 'vitest';
import { Base } from '../../src/base/base.ts';
import type { BasePlan } from '../../src/plan.ts';
import { Counters } from '../../src/counters.ts';
import { ENTRY, ENTRY_MASK, handoffBytes, RING, ringStart } from '../../src/handoff/layout.ts';
import { native } from '../../src/native.ts';
import { LEAST_SPIN } from '../../src/turn/attention.ts';
import { lanPlan } from '../support/lan-plan.ts';
import { A, B } from '../support/traffic.ts';

const WORKERS = 2;
const SPIN = 0.05;
const one = lanPlan([A, B].map(({ ip, mac }) => ({ addresses: [ip], mac })));
const plan: BasePlan = {
  ...one,
  vms: one.vms.map((vm, worker) => ({ ...vm, worker })),
  datapath: { ...one.datapath, workers: WORKERS },
};

const bytes = handoffBytes(WORKERS);
const memory = native.memfd('basewire-handoff', bytes, true);
const region = native.mapRegion(memory, 0, bytes);
const words = new Int32Array(native.viewRegion(region, 0, bytes));
const wakeFds = [native.eventfd(), native.eventfd()];
const base: Base = new Base(
  native,
  plan,
  new Counters(plan.vms.length).buffer,
  () => {},
  () => turn.time[0],
  1,
  { memory, wakeFds },
);
const { turn } = base;
turn.attention.spin = SPIN;
turn.time[0] = 1000;
afterAll(() => {
  base.close();
  native.unmapRegion(region);
  for (const fd of [memory, ...wakeFds]) native.closeDescriptor(fd);
});

/** Worker 0 hands over a frame from its VM to ours, whose front-end is not there. */
function handOver(): void {
  const ring = ringStart(WORKERS, 0, 1);
  const produced = (ring + RING.produced) >> 2;
  const entry = ((ring + RING.entries) >> 2) + (words[produced] & ENTRY_MASK) * ENTRY.words;
  words[entry + ENTRY.offset] = 0;
  words[entry + ENTRY.length] = 60;
  words[entry + ENTRY.from] = 0;
  words[entry + ENTRY.to] = 1;
  Atomics.add(words, produced, 1);
  expect(turn.run()).toBe(1);
  turn.attention.quieten(false);
}

/** A turn that finds nothing, so much later. */
function emptyTurn(later: number, early: boolean): void {
  turn.time[0] += later;
  expect(turn.run()).toBe(0);
  turn.attention.quieten(early);
}

test.each([
  ['as long as looking pays', SPIN, false],
  ['and for next to nothing where it does not', LEAST_SPIN, true],
])('%s', (_, spin, early) => {
  handOver();
  emptyTurn(spin / 2, early);
  expect(turn.busy).toBe(true);
  emptyTurn(spin, early);
  expect(turn.busy).toBe(false);
});
