/** What of a kept state is taken up, and what of it stays when one of several workers says its part. */
import { expect, it } from 'vitest';
import type { Adapter } from '../../src/adapter/adapter.ts';
import { merge, restore, type WarmState } from '../../src/base/warm-state.ts';
import type { Port } from '../../src/port/port.ts';
import { lanPlan } from '../support/lan-plan.ts';

const MAC = '02:00:00:00:00:09';

it('takes up stations’ addresses only, and no MAC of a VM whose own is configured', () => {
  const hints: string[] = [];
  const remembered: number[] = [];
  const port = (name: string, mac: string | null) =>
    ({ vm: { name, mac }, hintMac: () => hints.push(name) }) as unknown as Port;
  const adapter = {
    plan: { name: 'uplink' },
    remember: (key: number) => remembered.push(key),
  } as unknown as Adapter;
  const bad = ['00:00:00:00:00:00', 'ff:ff:ff:ff:ff:ff', '01:00:5e:00:00:01', 'x', 7, null];
  const neighbour = { adapter: 'uplink', address: '10.77.0.9', mac: MAC };
  const state = {
    version: 1,
    macs: [
      ...bad.map((mac) => ({ vm: 'free', mac })),
      { vm: 'fixed', mac: MAC },
      { vm: 'nobody', mac: MAC },
    ],
    neighbours: [
      ...bad.map((mac) => ({ ...neighbour, mac })),
      { ...neighbour, adapter: 'other' },
      { ...neighbour, address: '10.77.0.256' },
      { ...neighbour, address: 7 },
    ],
  };
  const ports = [port('free', null), port('fixed', '02:00:00:00:00:01')];
  restore(state, ports, [adapter], null);
  expect([hints, remembered]).toEqual([[], []]);
  restore({ ...state, version: 2, neighbours: [neighbour] }, ports, [adapter], null);
  expect(remembered).toEqual([]);
  const good = { version: 1, macs: [{ vm: 'free', mac: MAC }], neighbours: [neighbour] };
  restore(good, ports, [adapter], null);
  expect(hints).toEqual(['free']);
  expect(remembered).toHaveLength(1);
});

it('keeps what other workers said of VMs that there are, and of adapters what their owner said', () => {
  const plan = lanPlan([{ addresses: ['10.77.0.2'] }, { addresses: ['10.77.0.3'] }]);
  plan.datapath = { ...plan.datapath, workers: 2 };
  plan.vms[1]!.worker = 1;
  const entry = (vm: string) => ({ vm, mac: MAC });
  const neighbours = [{ adapter: 'uplink', address: '10.77.0.9', mac: MAC }];
  const before: WarmState = {
    version: 1,
    leases: 'before',
    macs: [entry('vm0'), entry('vm1'), entry('removed')],
    neighbours,
  };
  const part: WarmState = { version: 1, leases: 'part', macs: [], neighbours: [] };
  expect(merge(before, part, 1, plan)).toEqual({
    version: 1,
    leases: 'before',
    macs: [entry('vm0')],
    neighbours,
  });
  expect(merge(before, part, 0, plan)).toEqual({ ...part, macs: [entry('vm1')] });
  expect(merge({ ...before, version: 2 }, part, 0, plan)).toEqual(part);
});
