/** An adapter that is closed stays closed, though it is still being opened and nobody waits for an answer to that. */
import { expect, it } from 'vitest';
import { FIRST, Rig } from './rig.ts';

function closes(rig: Rig): void {
  expect([...rig.opening], 'it is being opened').toEqual([0]);
  expect(rig.ask(FIRST, 'close')).toMatchObject({ ok: true, state: 'closed' });
  expect([...rig.opening]).toEqual([]);
  expect(rig.holder).toBeNull();
}

it('after a restart, which began to open it for the lease that was held', () => {
  const rig = new Rig();
  rig.service.restore({
    version: 1,
    adapters: [{ adapter: 'uplink', holder: 'first', secondsLeft: 8 }],
  });
  closes(rig);
});

it('after the opening took too long and was answered with that', () => {
  const rig = new Rig();
  rig.ask(FIRST, 'open');
  rig.pass(5000);
  expect(rig.replies.at(-1)).toMatchObject({ ok: false, error: 'unavailable' });
  closes(rig);
});
