/** An `open` that is refused takes no lease. */
import { expect, it } from 'vitest';
import { FIRST, Rig, SECOND } from './rig.ts';

it('two that ask for what can’t be opened hear why, however often they ask', () => {
  const rig = new Rig();
  const reason = 'there is no interface eth1 on this host';
  for (let round = 0; round < 60; round++) {
    rig.ask(round % 2 === 0 ? FIRST : SECOND, 'open');
    if (rig.opening.size > 0) rig.refused(reason);
    expect(rig.replies.at(-1)).toMatchObject({ error: 'unavailable', message: reason });
    rig.pass(1000);
  }
  expect(rig.replies).toHaveLength(60);
  // Once it could be opened that is over.
  rig.pass(2000);
  let reply = rig.ask(FIRST, 'open');
  for (let count = 0; count < 10 && reply === undefined; count++) {
    rig.opened();
    rig.ask(FIRST, 'close');
    reply = rig.ask(FIRST, 'open');
  }
  expect(reply).toMatchObject({ message: expect.stringMatching(/too often/) });
});

it('whoever opens too often holds nothing, and keeps no stand-by out', () => {
  const rig = new Rig();
  for (let count = 0; count < 10; count++) {
    rig.take(FIRST);
    rig.ask(FIRST, 'close');
  }
  expect(rig.ask(FIRST, 'open')).toMatchObject({ ok: false, error: 'unavailable' });
  expect(rig.holder).toBeNull();
  expect(rig.ask(FIRST, 'renew'), 'not ok: it is closed').toMatchObject({ ok: false });
  rig.pass(2000);
  // The stand-by is heard, and opens it.
  expect(rig.ask(SECOND, 'open')).toBeUndefined();
  rig.opened();
  expect(rig.holder).toBe('second');
});
