/** An adapter whose interface is there again and can't be opened (no descriptors, no memory just now) is tried again until it can, ever more seldom. */
import { beforeEach, expect, test } from 'vitest';
import { Adapter } from '../../src/adapter/adapter.ts';
import type { AdapterContext } from '../../src/adapter/context.ts';
import { Counters } from '../../src/counters.ts';
import { native } from '../../src/native.ts';
import { lanPlan } from '../support/lan-plan.ts';

const SECOND = 1000;

let now = 0;
let asked: number[] = [];
let said: string[] = [];
beforeEach(() => {
  now = 0;
  asked = [];
  said = [];
});

/** On the loopback interface. */
function makeAdapter(changes: Partial<AdapterContext> = {}): Adapter {
  const plan = lanPlan([{ addresses: ['10.77.0.10'] }]);
  return new Adapter({
    native,
    plan: { name: 'outside', interface: 'lo', mac: null, nextHop: null },
    network: plan.networks[0],
    counters: new Counters(2),
    port: 1,
    senders: 2,
    now: () => now,
    due: () => {},
    log: (_level: string, message: string) => said.push(message),
    onChange: () => {},
    requestOpen: () => asked.push(now),
    ...changes,
  } as unknown as AdapterContext);
}

/** Passes. */
function second(adapter: Adapter): void {
  now += SECOND;
  adapter.tick(now);
}

test('tried on and on, and said once', () => {
  const adapter = makeAdapter();
  adapter.open();
  // Gone while it was being opened, as if it had been open.
  adapter.state = 'gone';
  for (; now < 3600 * SECOND; now += SECOND) {
    if (now > 0) adapter.tick(now);
    if (asked.at(-1) === now) adapter.refused('EMFILE');
  }
  const pauses = asked.slice(1).map((at, index) => at - asked[index]);
  expect(pauses.slice(0, 6)).toEqual([1, 2, 4, 8, 16, 32].map((seconds) => seconds * SECOND));
  expect(new Set(pauses.slice(6))).toEqual(new Set([32 * SECOND]));
  expect(asked.at(-1)).toBeGreaterThan(3500 * SECOND);
  expect(said.filter((line) => line.includes('EMFILE'))).toHaveLength(1);
  adapter.close('enough');
  const count = asked.length;
  adapter.tick(now + 100 * SECOND);
  expect(asked).toHaveLength(count);
});

test('so is one that was open before the base was started anew', () => {
  const adapter = makeAdapter();
  adapter.reopen();
  adapter.refused('there is no interface lo on this host');
  expect(adapter.state).toBe('gone');
  second(adapter);
  expect(asked).toEqual([0, SECOND]);
});

/** Packet sockets as the main thread opens them: nobody's descriptors. */
const OPENED = {
  fd: 101,
  doorbell: { fd: 102, mapBytes: 4096 },
  headerBytes: 12,
  receive: { blockBytes: 4096, blocks: 2 },
  transmit: { frameBytes: 2048, frames: 4 },
  mapBytes: 4 * 4096,
  interfaceIndex: 1,
  mac: '02:00:00:00:00:01',
  mtu: 1500,
  up: true,
  coupleUdp: false,
  takesLongUdp: false,
};

/** What stands in for system and wait, and what is mapped, watched and closed of them; `changes`: what the system does otherwise. */
function fakes(changes: object) {
  const closed: number[] = [];
  const held = new Set<string>();
  const system = {
    ...native,
    mapPacketRings: (fd: number) => held.add(`map ${fd}`) && fd,
    viewRegion: (_region: number, _at: number, bytes: number) => new ArrayBuffer(bytes),
    unmapRegion: (region: number) => held.delete(`map ${region}`),
    packetStatistics: () => [0, 0],
    packetClose: (fd: number) => closed.push(fd),
    ...changes,
  };
  const watcher = {
    watch: (fd: number) => held.add(`watch ${fd}`),
    unwatch: (fd: number) => held.delete(`watch ${fd}`),
  };
  const addresses = { owner: () => -1, ownedKeys: () => [] };
  const context = { native: system, watcher, addresses, outbox: { add: () => true } };
  return { closed, held, watcher, context: context as unknown as Partial<AdapterContext> };
}

test.each([
  ['its rings', 101, 0],
  ['its doorbell', 102, 0],
  ['the watch of its doorbell', 0, 102],
])(
  'what is open already is given back where the memory for %s is lacking, and it is tried again',
  (_, lacking, unwatched) => {
    const mapPacketRings = (fd: number) => {
      if (fd === lacking) throw new Error('ENOMEM');
      return held.add(`map ${fd}`) && fd;
    };
    const { closed, held, watcher, context } = fakes({ mapPacketRings });
    const { watch } = watcher;
    watcher.watch = (fd: number) => {
      if (fd === unwatched) throw new Error('ENOSPC');
      return watch(fd);
    };
    const adapter = makeAdapter(context);
    adapter.reopen();
    expect(adapter.attach(OPENED)).toBe(false);
    expect(closed).toEqual([101, 102]);
    expect([...held]).toEqual([]);
    second(adapter);
    expect(asked).toEqual([0, SECOND]);
  },
);

test.each([
  ['while it was being opened', false],
  ['and its message was lost', true],
])('an interface that was deleted and made anew %s is opened anew', (_, later) => {
  const info = { index: 1, mac: Uint8Array.of(2, 0, 0, 0, 0, 1), mtu: 1500, flags: 1 | 64 };
  const { closed, held, context } = fakes({ interfaceInfo: () => info });
  const adapter = makeAdapter(context);
  adapter.open();
  if (!later) info.index = 2;
  expect(adapter.attach(OPENED)).toBe(later);
  info.index = 2;
  if (later) adapter.refreshLink();
  expect(adapter.state).toBe('gone');
  expect([closed, [...held], asked.length]).toEqual([[101, 102], [], 2]);
});

test('an interface that can’t be looked at (no descriptor is left) is not taken for gone, and looked at again', () => {
  let fault: string | null = null;
  let looks = 0;
  const interfaceInfo = (name: string) => {
    looks++;
    if (fault !== null) throw Object.assign(new Error(fault), { code: fault });
    return native.interfaceInfo(name);
  };
  const adapter = makeAdapter({ native: { ...native, interfaceInfo } });
  const { index, mtu } = native.interfaceInfo('lo');
  const socket = { interfaceIndex: index, couple: () => false, close() {}, readStatistics() {} };
  const tables = {
    neighbours: { tick: () => 1e9, clear() {} },
    arp: { tick: () => 1e9, stop() {} },
  };
  adapter.open();
  // As if it had been attached.
  Object.assign(adapter, { opening: false, state: 'open', refusal: 0, mtu, socket, ...tables });
  for (fault of ['EMFILE', 'ENFILE', 'ENOMEM']) {
    adapter.refreshLink();
    expect(adapter.state, fault).toBe('open');
    const before = looks;
    expect(adapter.tick(now)).toBe(SECOND);
    second(adapter);
    expect(looks, 'looked at again').toBe(before + 1);
  }
  // One that has it as another name, if it is still so.
  const link = { index, deleted: false, name: 'other', otherNames: true, mtu, mac: null, up: true };
  adapter.linkChanged(link as never);
  expect(adapter.state).toBe('open');
  fault = null;
  second(adapter);
  expect(adapter.state).toBe('open');
  fault = 'ENODEV';
  adapter.refreshLink();
  expect(adapter.state).toBe('gone');
});
