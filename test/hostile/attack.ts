/**
 * What the hostile ring tests have in common: put one lying chain into the attacker's output buffer and see that it comes back with
 * length 0, is counted once under its reason, and that an honest datagram behind it still arrives.
 */
import { expect } from 'vitest';
import type { DropReason } from '../../src/counters.ts';
import type { Fixture } from '../support/fixture.ts';
import { until } from '../support/until.ts';
import type { Vm } from '../support/vm.ts';

export interface Lie {
  name: string;
  /** The reason it is counted under. */
  reason: DropReason;
  /** Puts the lie into the transmit queue without publishing it. */
  tell(a: Vm): void;
  /** Whether it can be told with these features. */
  needs?: bigint;
  /** Only when these were not negotiated. */
  lacks?: bigint;
  /** Only in rings of this format. */
  format?: 'split' | 'packed';
}

/** Those that can be told in rings of one format. */
export function liesOf(lies: readonly Lie[], packed: boolean): Lie[] {
  return lies.filter(({ format }) => format === undefined || (format === 'packed') === packed);
}

export function canTell(lie: Lie, a: Vm): boolean {
  return (
    (a.features & (lie.needs ?? 0n)) === (lie.needs ?? 0n) &&
    (a.features & (lie.lacks ?? 0n)) === 0n &&
    (lie.format ?? a.transmitQueue().format) === a.transmitQueue().format
  );
}

async function dropsOf(fixture: Fixture): Promise<Record<string, number>> {
  return { ...(await fixture.daemon.vm('a')).drops };
}

/** The lie is dropped or recycled: chain back with length 0, one count, the queue goes on. */
export async function expectDropped(fixture: Fixture, a: Vm, lie: Lie): Promise<void> {
  const before = await dropsOf(fixture);
  lie.tell(a);
  a.transmitQueue().publish();
  await a.untilSent(); // throws when a chain comes back with a length
  await fixture.goodPasses(a);
  const changed = await until(`a drop of ${lie.name} to be counted`, async () => {
    const now = await dropsOf(fixture);
    const names = Object.keys(now).filter((name) => now[name] !== before[name]);
    return names.length > 0 ? names.map((name) => `${name}+${now[name] - before[name]}`) : null;
  });
  expect(changed, lie.name).toEqual([`${lie.reason}+1`]);
}

/**
 * The ring stops: err descriptor signalled, state broken, nothing taken any more, whatever is done `meanwhile`; the others go on; a restart
 * heals it.
 */
export async function expectBroken(
  fixture: Fixture,
  a: Vm,
  tell: () => void,
  meanwhile?: () => Promise<void>,
): Promise<void> {
  const { daemon } = fixture;
  const queue = a.transmitQueue();
  const before = await daemon.count('a', 'ringsBroken');
  queue.errors();
  const used = queue.usedCount;
  tell();
  queue.kick();
  await daemon.untilCount('a', 'ringsBroken', before + 1);
  await daemon.untilState('a', 'broken');
  await until('the err descriptor', () => queue.errors() > 0);
  await meanwhile?.();
  // it is not served any more, however often it is kicked
  for (let i = 0; i < 20; i++) queue.kick();
  await fixture.flow.advance();
  expect(queue.usedCount).toBe(used);
  expect(await daemon.count('a', 'ringsBroken')).toBe(before + 1);
  expect((await daemon.vm('a')).state).toBe('broken');
  await heal(fixture, a);
}

/** What a driver's reset does: rings stopped, started afresh. */
export async function heal(fixture: Fixture, a: Vm): Promise<void> {
  await a.stopRing(0);
  await a.stopRing(1);
  for (const queue of a.queues) queue.reset();
  await a.applyFeatures();
  a.fillReceive();
  await a.startRing(0);
  await a.startRing(1);
  await fixture.daemon.untilState('a', 'running');
  await fixture.goodPasses(a);
}
