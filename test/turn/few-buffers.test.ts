/** A receiver whose few buffers stand behind long chains of nothing: what one turn reads of its ring is bounded, though much waits for it. */
import { expect, test } from 'vitest';
import { MAX_STEPS, MAX_STEPS_PER_TURN } from '../../src/port/input.ts';
import type { SplitQueue } from '../../src/virtio/split-queue.ts';
import { WRITE_BUFFERS } from '../fuzz/guest.ts';
import { SIZE, SMALL, Site } from '../support/site.ts';

const NEXT = 1;
const WRITE = 2;

test('dropping what never fits looks at no more descriptors than a turn may', () => {
  const site = new Site();
  site.begin(1);
  const { turn } = site.base;
  const attachment = site.base.portControls[0].port.current!;
  attachment.mergeable = true;
  const queue = attachment.ring(0)!.queue as SplitQueue;
  // One chain: as many empty descriptors as the ring is long, before one of 26 bytes.
  for (let index = 0; index < SIZE - 1; index++) {
    const flags = NEXT | WRITE | ((index + 1) << 16);
    queue.descriptors.set([WRITE_BUFFERS.start, 0, 0, flags], index * 4);
  }
  queue.descriptors.set([WRITE_BUFFERS.start, 0, 26, WRITE], (SIZE - 1) * 4);
  queue.avail[2 + (queue.nextAvail & queue.mask)] = 0;
  queue.avail[1] = queue.nextAvail + 1;
  const { chain } = (turn as unknown as { context: { chain: { steps: number; walk: Walk } } })
    .context;
  type Walk = (...words: unknown[]) => number;
  const walk = chain.walk.bind(chain);
  let steps = 0;
  chain.walk = (...words) => {
    const before = chain.steps;
    const fault = walk(...words);
    steps += chain.steps - before;
    return fault;
  };
  const senders = [1, 2, 3];
  for (const vm of senders) site.prepare(vm, SMALL);
  for (let round = 0; round < 30; round++) {
    for (const vm of senders) site.send(vm);
    steps = 0;
    turn.time[0] += 20;
    turn.run();
    expect(steps).toBeLessThanOrEqual(MAX_STEPS_PER_TURN + MAX_STEPS);
  }
  expect(site.counters.get(1, 'inputTooSmall')).toBeGreaterThan(0);
});
