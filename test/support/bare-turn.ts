/** The turn of a base without VMs, in this thread, and the list of its adapters, to which a test adds what it likes. */
import type { Adapter } from '../../src/adapter/adapter.ts';
import { Base } from '../../src/base/base.ts';
import { Counters } from '../../src/counters.ts';
import { native } from '../../src/native.ts';
import type { Turn } from '../../src/turn.ts';
import { lanPlan } from './lan-plan.ts';

export function bareTurn(): { turn: Turn; adapters: Partial<Adapter>[] } {
  const counters = new Counters(1).buffer;
  const { turn } = new Base(
    native,
    lanPlan([]),
    counters,
    () => {},
    () => 1000,
  );
  const { context } = turn as unknown as { context: { adapters: Partial<Adapter>[] } };
  return { turn, adapters: context.adapters };
}
