/** An `open` that is refused takes no lease. */
import { expect, it } from 'vitest';
import { FIRST, Rig, SECOND } from './rig.ts';

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
