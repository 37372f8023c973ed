/** A turn worker has room for as many VMs as a configuration may give it. */
import { expect, it } from 'vitest';
import { Base } from '../../src/base/base.ts';
import { MAX_VMS_PER_WORKER } from '../../src/plan.ts';
import { Counters } from '../../src/counters.ts';
import { native } from '../../src/native.ts';
import { lanPlan } from '../support/lan-plan.ts';

const vm = (number: number) => ({
  addresses: [`10.77.${1 + (number >> 7)}.${1 + (number & 127)}`],
});

it('makes a base of the most VMs, each with room for its backlog', () => {
  const vms = Array.from({ length: MAX_VMS_PER_WORKER }, (_, number) => vm(number));
  const plan = lanPlan(vms, { prefix: 16 });
  const counters = new Counters(plan.vms.length);
  const base = new Base(
    native,
    plan,
    counters.buffer,
    () => {},
    () => performance.now(),
  );
  expect(base.turn.run()).toBe(0);
  base.close();
});
