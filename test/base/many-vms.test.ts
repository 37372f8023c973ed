/** A turn worker has room for as many VMs as a configuration may give it. */
import { expect, it } from 'vitest';
import { Base } from '../../src/base/base.ts';
import { type BasePlan, MAX_VMS_PER_WORKER } from '../../src/base/plan.ts';
import { Counters } from '../../src/counters.ts';
import { native } from '../../src/native.ts';
import { DATAPATH } from '../support/datapath.ts';

const vm = (number: number): BasePlan['vms'][number] => ({
  name: `vm${number}`,
  network: 0,
  addresses: [`10.77.${1 + (number >> 7)}.${1 + (number & 127)}`],
  prefixes: [],
  mac: null,
  management: false,
  worker: 0,
  sockets: [],
});

it('makes a base of the most VMs, each with room for its backlog', () => {
  const plan: BasePlan = {
    networks: [
      {
        name: 'lan',
        subnet: '10.77.0.0',
        prefix: 16,
        address: '10.77.0.1',
        mac: '02:00:0a:4d:00:01',
        mtu: 1500,
        packed: false,
      },
    ],
    vms: Array.from({ length: MAX_VMS_PER_WORKER }, (_, number) => vm(number)),
    adapters: [],
    datapath: DATAPATH,
  };
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
