/**
 * The ends of three workers in one thread: who gets what, who is woken, and who is believed to sleep. And what the main thread makes of
 * several workers: their counts as one, their warm states as one.
 */
import { afterAll, beforeEach, describe, expect, test } from 'vitest';
import type { BasePlan } from '../../src/plan.ts';
import { merge, type WarmState } from '../../src/base/warm-state.ts';
import { BaseState } from '../../src/base-state.ts';
import { Counters, CounterSums } from '../../src/counters.ts';
import { Handoff } from '../../src/handoff/handoff.ts';
import { ENTRIES, handoffBytes } from '../../src/handoff/layout.ts';
import { native } from '../../src/native.ts';
import { Port } from '../../src/port/port.ts';
import { Network } from '../../src/routing/network.ts';
import { AT_ADAPTERS, BROADCAST_HERE } from '../../src/routing/verdict.ts';
import { BaseStorage } from '../../src/storage/base-storage.ts';
import { CopyList } from '../../src/storage/copy-list.ts';
import { testPlan } from '../supervision/folder.ts';

/** VMs 0, 1 and 2 on workers 0, 1 and 2; VM 3 on worker 1; the adapter, port 4, is worker 0's. */
const WORKERS = 3;
const one = testPlan('/tmp');
const plan: BasePlan = {
  ...one,
  networks: [one.networks[0], { ...one.networks[0], name: 'other' }],
  vms: [0, 1, 2, 1].map((worker, index) => ({
    ...one.vms[0],
    network: index === 2 ? 1 : 0,
    name: `vm${index}`,
    addresses: [`10.77.0.${20 + index}`],
    worker,
  })),
  adapters: one.adapters,
  datapath: { ...one.datapath, workers: WORKERS },
};
const BUDGET = { datagrams: 100, descriptors: 0, bytes: 1 << 20, shift: 0 };

const { arena, rows } = native.createArena(4 << 20, 4096);
const copies = new CopyList(native, rows);
const storage = new BaseStorage(arena, 4 << 20, 1024);
const memory = native.memfd('basewire-handoff', handoffBytes(WORKERS), true);
const wakeFds = [100, 101, 102]; // only named here
const time = new Float64Array(1);
let workers: Handoff[] = [];
let counters: Counters[] = [];
/** Eventfds of workers that are to be woken. */
let woken: number[] = [];
const bells = { add: (fd: number) => woken.push(fd) };

function start(worker: number): Handoff {
  return new Handoff(
    native,
    { memory, wakeFds },
    plan,
    worker,
    storage,
    copies,
    counters[worker],
    time,
  );
}

beforeEach(() => {
  for (const worker of workers) worker.close();
  counters = [0, 1, 2].map(() => new Counters(5));
  workers = [0, 1, 2].map(start);
  for (const worker of workers) {
    worker.wakeUp();
    takeAll(worker);
  }
});
afterAll(() => {
  for (const worker of workers) worker.close();
  native.closeDescriptor(memory);
});

/** A frame from `from` with its number in it, handed to whoever `to` means. */
function put(worker: Handoff, from: number, to: number, number: number): boolean {
  storage.clear();
  const slot = storage.take(from, 60);
  storage.bytes[storage.at[slot]] = number;
  copies.delivering = true;
  const done = worker.put(slot, to, null);
  copies.deliver();
  return done;
}

/** [from, to, number] of everything that waits for the worker. */
function takeAll(worker: Handoff): number[][] {
  storage.clear();
  copies.delivering = false;
  worker.gather(BUDGET);
  copies.gather();
  worker.release();
  return Array.from({ length: storage.count }, (_, slot) => [
    worker.columns.from[slot],
    worker.columns.to[slot],
    storage.bytes[storage.at[slot]],
  ]);
}

const published = (worker: Handoff) => {
  woken = [];
  worker.publish(bells);
  return woken;
};

describe('who gets it', () => {
  test('a VM’s worker gets what is for the VM, the first one what its owner decides', () => {
    expect(put(workers[0], 0, 1, 1)).toBe(true);
    expect(put(workers[0], 4, 3, 2)).toBe(true);
    expect(put(workers[0], 0, 2, 3)).toBe(true);
    expect(put(workers[1], 3, AT_ADAPTERS, 4)).toBe(true);
    expect(put(workers[1], 1, 2, 5)).toBe(true);
    for (const worker of workers) worker.publish(bells);
    expect(takeAll(workers[1])).toEqual([
      [0, 1, 1],
      [4, 3, 2],
    ]);
    expect(takeAll(workers[0])).toEqual([[3, AT_ADAPTERS, 4]]);
    expect(takeAll(workers[2]).sort()).toEqual([
      [0, 2, 3],
      [1, 2, 5],
    ]);
    expect(workers.map(({ damaged }) => damaged)).toEqual([0, 0, 0]);
  });

  test('a broadcast goes once to each other worker that has VMs of the network', () => {
    const network = new Network(plan.networks[0]);
    // VM 2 is on another network: its worker gets nothing.
    for (const vm of [0, 1, 3]) network.enter(new Port(vm, plan.vms[vm], 0));
    storage.clear();
    const slot = storage.take(0, 60);
    copies.delivering = true;
    workers[0].broadcast(slot, network, 0);
    copies.deliver();
    workers[0].publish(bells);
    expect(takeAll(workers[1])).toEqual([[0, BROADCAST_HERE, expect.any(Number)]]);
    expect(takeAll(workers[2])).toEqual([]);
    expect(counters[0].get(0, 'handedOver')).toBe(0);
  });

  test('a broadcast for which there is no room is missed by the VMs there, and by no others', () => {
    const network = new Network(plan.networks[0]);
    for (const vm of [0, 1, 3]) network.enter(new Port(vm, plan.vms[vm], 0));
    while (put(workers[0], 0, 1, 1));
    storage.clear();
    workers[0].broadcast(storage.take(0, 60), network, 0);
    expect([0, 1, 2, 3, 4].map((port) => counters[0].get(port, 'missed'))).toEqual([0, 1, 0, 1, 0]);
  });
});

test('each of the other workers comes first in turn', () => {
  const first = () => {
    put(workers[0], 0, 1, 1);
    put(workers[2], 2, 1, 2);
    for (const worker of workers) worker.publish(bells);
    return takeAll(workers[1])[0][2];
  };
  expect([first(), first()].sort()).toEqual([1, 2]);
});

test('what is taken counts as taken over as soon as the ring may forget it, and not before', () => {
  put(workers[0], 0, 1, 1);
  put(workers[0], 4, 3, 2);
  put(workers[0], -1, 1, 3);
  const network = new Network(plan.networks[0]);
  network.enter(new Port(1, plan.vms[1], 0));
  copies.delivering = true;
  storage.clear();
  workers[0].broadcast(storage.take(0, 60), network, 0);
  copies.deliver();
  workers[0].publish(bells);
  const taken = () => [0, 1, 2, 3, 4].map((port) => counters[1].get(port, 'takenOver'));
  storage.clear();
  storage.take(2, 60); // what its own VM sent
  copies.delivering = false;
  workers[1].gather(BUDGET);
  copies.gather();
  expect(storage.count).toBe(5);
  expect(taken()).toEqual([0, 0, 0, 0, 0]);
  storage.take(4, 60); // the LAN comes last
  workers[1].release();
  expect(taken()).toEqual([1, 0, 0, 0, 1]);
});

test('a LAN that fills a ring leaves room in it for the VMs, and for what the base says', () => {
  let taken = 0;
  while (taken <= ENTRIES && put(workers[0], 4, 1, 0)) taken++;
  expect(taken).toBe((ENTRIES * 3) / 4);
  expect(put(workers[0], 0, 1, 1)).toBe(true);
  expect(put(workers[0], -1, 1, 2)).toBe(true);
});

describe('sleep', () => {
  test('only who sleeps and gets something is woken, once per publish', () => {
    expect(workers[1].fallAsleep()).toBe(true);
    put(workers[0], 0, 1, 1);
    put(workers[0], 0, 3, 2);
    put(workers[0], 0, 2, 3);
    expect(published(workers[0])).toEqual([101]);
    expect(published(workers[0]), 'nothing new').toEqual([]);
    workers[1].wakeUp();
    put(workers[0], 0, 1, 4);
    expect(published(workers[0])).toEqual([]);
  });

  test('nobody falls asleep over something that waits', () => {
    put(workers[0], 0, 1, 1);
    expect(workers[1].fallAsleep()).toBe(true);
    workers[1].wakeUp();
    workers[0].publish(bells);
    expect(workers[1].fallAsleep()).toBe(false);
    put(workers[2], 2, 1, 2);
    expect(published(workers[2]), 'not believed to sleep').toEqual([]);
    expect(takeAll(workers[1])).toHaveLength(2);
    expect(workers[1].fallAsleep()).toBe(true);
  });

  test('what came a moment ago keeps it looking', () => {
    time[0] = 1000;
    put(workers[0], 0, 1, 1);
    workers[0].publish(bells);
    takeAll(workers[1]);
    time[0] = 1000.04;
    expect(workers[1].recent(0.05)).toBe(true);
    time[0] = 1000.06;
    expect(workers[1].recent(0.05)).toBe(false);
  });
});

test('a worker ends when all others have said that they hand over nothing more', () => {
  expect(workers[1].othersQuiet).toBe(false);
  workers[0].beQuiet();
  expect(workers[1].othersQuiet).toBe(false);
  workers[2].beQuiet();
  expect(workers[1].othersQuiet).toBe(true);
  workers[2].close();
  workers[2] = start(2);
  expect(workers[1].othersQuiet, 'it was started anew').toBe(false);
});

test('a worker that is away is not waited for', () => {
  workers[0].beQuiet();
  expect(workers[1].othersQuiet).toBe(false);
  workers[1].expectNothing(1); // itself: no difference
  expect(workers[1].othersQuiet).toBe(false);
  workers[1].expectNothing(2);
  expect(workers[1].othersQuiet).toBe(true);
  expect(workers[2].othersQuiet, 'only we were told').toBe(false);
});

describe('the main thread', () => {
  test('shows sums, and what is between two workers as waiting', () => {
    const sums = new CounterSums(2, 2);
    const [first, second] = sums.blocks;
    first.add(0, 'receivedDatagrams', 10);
    second.add(0, 'delivered', 4);
    first.add(0, 'delivered', 3);
    first.add(0, 'handedOver', 6);
    second.add(0, 'takenOver', 5);
    second.add(0, 'waiting', 1);
    first.add(0, 'waiting', 1);
    expect(sums.get(0, 'receivedDatagrams')).toBe(10);
    expect(sums.get(0, 'delivered')).toBe(7);
    expect(sums.get(0, 'waiting')).toBe(3);
    second.add(0, 'takenOver', 9); // seen before the handing over
    expect(sums.get(0, 'waiting')).toBe(0);
  });

  test('books what waited in a lost worker as dropped, not what waits for the next one', () => {
    const state = new BaseState(plan);
    const [first, second] = state.counters.blocks;
    first.add(0, 'receivedDatagrams', 10);
    first.add(0, 'handedOver', 10);
    second.add(0, 'takenOver', 7);
    second.add(0, 'delivered', 3);
    second.add(0, 'inputFull', 1);
    second.add(0, 'waiting', 2); // and one in base storage
    for (const vm of state.vms) vm.state = 'running';
    state.adapters[0].state = 'open';
    state.workerLost(1);
    expect(state.vms.map((vm) => vm.state)).toEqual(['running', 'waiting', 'running', 'waiting']);
    expect(state.adapters[0].state).toBe('open');
    expect(state.counters.get(0, 'workerLost')).toBe(3);
    expect(state.counters.get(0, 'waiting')).toBe(3);
    state.workerLost(0);
    expect(state.counters.get(0, 'workerLost'), 'the first one had nothing').toBe(3);
    expect(state.adapters[0].state).toBe('closed');
  });

  test('keeps the warm state of all workers, whichever says something', () => {
    const part = (vm: string, more: Partial<WarmState> = {}): WarmState => ({
      version: 1,
      leases: { version: 1, adapters: [] },
      macs: [{ vm, mac: '52:54:00:00:00:01' }],
      neighbours: [],
      ...more,
    });
    const neighbours = [{ adapter: 'uplink', address: '10.77.0.9', mac: '02:00:00:00:00:09' }];
    let state: unknown = 'nonsense of a file';
    state = merge(state, part('vm0', { leases: 'leases', neighbours }), 0, plan);
    state = merge(state, part('vm1'), 1, plan);
    state = merge(state, part('vm2'), 2, plan);
    state = merge(state, part('vm3'), 1, plan);
    expect(state).toEqual({
      version: 1,
      leases: 'leases',
      macs: ['vm0', 'vm2', 'vm3'].map((vm) => ({ vm, mac: '52:54:00:00:00:01' })),
      neighbours,
    });
  });
});
