/** What a base took up from the one before it and nobody has used yet is handed on: the next restart may come before the VMs have come back. */
import { expect, test } from 'vitest';
import { Base } from '../../src/base/base.ts';
import type { WarmState } from '../../src/base/warm-state.ts';
import { Counters } from '../../src/counters.ts';
import { native } from '../../src/native.ts';
import { uplink } from '../control/rig.ts';
import { lanPlan } from '../support/lan-plan.ts';
import { A, B } from '../support/traffic.ts';

test('learned MACs and LAN neighbours are kept', () => {
  const kept: WarmState = {
    version: 1,
    leases: { version: 1, adapters: [] },
    macs: [{ vm: 'vm0', mac: A.mac }],
    neighbours: [{ adapter: 'uplink', address: '10.77.0.200', mac: '02:00:00:00:00:09' }],
  };
  const plan = lanPlan([{ addresses: [A.ip] }, { addresses: [B.ip], mac: B.mac }]);
  plan.adapters.push(uplink({ controllers: [0] }));
  const states: unknown[] = [];
  const base = new Base(
    native,
    plan,
    new Counters(3).buffer,
    (message) => {
      if (message.kind === 'state') states.push(message.state);
    },
    () => 1000,
  );
  base.restore(kept);
  base.tellState();
  expect(states).toEqual([kept]);
});
