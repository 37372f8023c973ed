/** Resolution of neighbours with a clock of the test's: what waits, for how long, and that the books balance. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { AdapterContext } from '../../src/adapter/context.ts';
import { NEIGHBOURS, NeighbourTable } from '../../src/adapter/neighbour-table.ts';
import { Neighbours } from '../../src/adapter/neighbours.ts';
import { Outbox } from '../../src/storage/outbox.ts';
import { CELL, Counters } from '../../src/counters.ts';
import { HELD } from '../../src/routing/verdict.ts';
import { keyOf } from '../../src/wire/ipv4-address.ts';
import { cellClock } from '../support/cell-clock.ts';
import { dirtyStorage, frameOf, putFrame } from '../support/slots.ts';

const PORTS = 8;
const ADAPTER = PORTS;
const OWN = Uint8Array.of(2, 0, 0, 0, 0, 1);
const THEIRS = Uint8Array.of(2, 0, 0, 0, 0xaa, 0xbb);

/** A table that says how often its columns were read. */
function countingTable(): NeighbourTable & { reads: number } {
  const table = Object.assign(new NeighbourTable(), { reads: 0 });
  for (const [name, column] of Object.entries(table)) {
    if (!ArrayBuffer.isView(column)) continue;
    const counting = new Proxy(column as Uint8Array, {
      get(target, property) {
        table.reads++;
        const value = Reflect.get(target, property, target);
        return typeof value === 'function' ? value.bind(target) : value;
      },
    });
    Object.defineProperty(table, name, { value: counting });
  }
  return table;
}

function world(table = new NeighbourTable()) {
  const storage = dirtyStorage();
  const counters = new Counters(PORTS + 1);
  const outbox = new Outbox(counters);
  const asked: { key: number; unicast: boolean }[] = [];
  const clock = cellClock();
  const dues: number[] = [];
  const unreached: { from: number; packet: Uint8Array }[] = [];
  const context = {
    storage,
    counters,
    outbox,
    port: ADAPTER,
    senders: ADAPTER + 1,
    plan: { nextHop: '10.77.77.77' },
    now: () => clock.now,
    time: clock.time,
    due: (time: number) => dues.push(time),
    unreached: (from: number, packet: Uint8Array) => unreached.push({ from, packet }),
  } as unknown as AdapterContext;
  const own = new Uint16Array(OWN.slice().buffer);
  const ask = (key: number, macs: Uint8Array | null) => asked.push({ key, unicast: macs !== null });
  const neighbours = new Neighbours(context, own, keyOf('10.77.255.255'), ask, table);
  return {
    neighbours,
    counters,
    outbox,
    asked,
    clock,
    dues,
    unreached,
    storage,
    send(key: number, from = 0, size = 60): number {
      storage.clear();
      return neighbours.resolve(putFrame(storage, new Uint8Array(size).fill(size), {}, from), key);
    },
    learn: (key: number, mac = THEIRS) => neighbours.learn(key, mac, 0, clock.now),
    pass(milliseconds: number): void {
      const end = clock.now + milliseconds;
      for (let next = neighbours.tick(clock.now); next <= end; next = neighbours.tick(clock.now)) {
        clock.now = Math.max(next, clock.now);
      }
      clock.now = end;
    },
    released(): { from: number; to: number; frame: Buffer }[] {
      storage.clear();
      outbox.moveTo(storage);
      return Array.from({ length: storage.count }, (_, slot) => ({
        from: storage.from[slot],
        to: storage.to[slot],
        frame: frameOf(storage, slot),
      }));
    },
  };
}

const key = (index: number) => keyOf(`10.77.${index >> 8}.${index & 255}`);

describe('neighbours', () => {
  it('writes both MACs when it knows the neighbour', () => {
    const { send, learn, storage, asked } = world();
    send(key(9));
    learn(key(9));
    expect(send(key(9))).toBe(0);
    const frame = frameOf(storage, 0);
    expect([...frame.subarray(0, 13)]).toEqual([...THEIRS, ...OWN, 60]);
    expect(asked.length).toBe(1);
  });

  it('releases what waited in order, complete, to the adapter', () => {
    const { send, learn, released, counters } = world();
    for (const [index, from] of [3, 1, 3].entries())
      expect(send(key(9), from, 60 + index)).toBe(HELD);
    const waiting = () => [counters.get(3, 'waiting'), counters.get(1, 'waiting')];
    expect(waiting()).toEqual([2, 1]);
    learn(key(9));
    expect(waiting(), 'until the next turn takes them').toEqual([2, 1]);
    const out = released();
    expect(out.map(({ from, to, frame }) => [from, to, frame.length])).toEqual([
      [3, ADAPTER, 60],
      [1, ADAPTER, 61],
      [3, ADAPTER, 62],
    ]);
    for (const { frame } of out) {
      expect([...frame.subarray(0, 12)]).toEqual([...THEIRS, ...OWN]);
      expect(frame.subarray(12).every((byte) => byte === frame.length)).toBe(true);
    }
    expect(waiting()).toEqual([0, 0]);
  });

  it('asks three times a second apart, then is silent for three seconds', () => {
    const { send, pass, asked, counters, neighbours, unreached } = world();
    expect(send(key(9), 0, 77)).toBe(HELD);
    expect(send(key(9), 0, 78)).toBe(HELD);
    const counts = [];
    for (let second = 0; second < 5; second++) {
      pass(999);
      counts.push(asked.length);
      pass(1);
    }
    expect(counts).toEqual([1, 2, 3, 3, 3]);
    expect(counters.get(0, 'neighbourUnresolved')).toBe(2);
    // Who waited is to be told.
    expect(unreached.map(({ from, packet }) => [from, packet.length])).toEqual([
      [0, 77 + 12],
      [0, 78 + 12],
    ]);
    expect(neighbours.failed(key(9))).toBe(true);
    expect(send(key(9))).toBe(CELL.neighbourUnresolved);
    pass(1000);
    expect(neighbours.failed(key(9))).toBe(false);
    expect(send(key(9))).toBe(HELD);
    expect(asked.length).toBe(4);
  });

  it('says when it must be called again, as soon as that becomes earlier', () => {
    const { send, dues, pass, learn, clock } = world();
    send(key(1));
    expect(dues).toEqual([1000]);
    pass(300);
    send(key(2));
    expect(dues, 'it is called before').toEqual([1000]);
    learn(key(1));
    learn(key(2));
    clock.now = 1000;
    pass(10);
    send(key(3));
    expect(dues.at(-1)).toBe(2010);
  });

  it('learns nothing it did not ask for', () => {
    const { learn, neighbours } = world();
    expect(learn(key(9))).toBe(false);
    expect(neighbours.known).toBe(0);
  });

  it('takes an answer that comes late', () => {
    const { send, learn, pass } = world();
    send(key(9));
    pass(4000);
    expect(send(key(9))).toBe(CELL.neighbourUnresolved);
    expect(learn(key(9))).toBe(true);
    expect(send(key(9))).toBe(0);
  });

  it('asks again before it forgets, first the neighbour alone', () => {
    const { send, learn, pass, asked, neighbours, clock } = world();
    send(key(9));
    learn(key(9));
    pass(29_999);
    expect(asked.length).toBe(1);
    send(key(9));
    while (asked.length < 2) pass(100);
    expect(clock.now).toBeLessThanOrEqual(60_100);
    expect(asked[1]).toEqual({ key: key(9), unicast: true });
    expect(send(key(9)), 'still believed').toBe(0);
    pass(3000);
    expect(asked.slice(2).every(({ unicast }) => !unicast)).toBe(true);
    expect(asked.length).toBe(4);
    expect(neighbours.known).toBe(0);
    expect(send(key(9))).toBe(HELD);
  });

  it('forgets one that answered and was not used, without another question', () => {
    const { send, learn, pass, asked, neighbours } = world();
    send(key(9));
    learn(key(9));
    pass(60_000);
    expect(asked.length).toBe(1);
    expect(neighbours.known).toBe(0);
  });

  it('tells nobody of what the base itself sent in vain', () => {
    const { send, pass, unreached } = world();
    send(key(9), -1);
    send(key(9), 2);
    pass(3000);
    expect(unreached.map(({ from }) => from)).toEqual([2]);
  });

  it('counts nothing as unanswered any more once the adapter is down', () => {
    const { send, neighbours } = world();
    for (let index = 1; index <= 256; index++) send(key(index), 0);
    expect(send(key(300), 0)).toBe(CELL.neighbourUnresolved);
    neighbours.clear(CELL.adapterDown);
    for (let index = 1; index <= 256; index++) expect(send(key(index), 0)).toBe(HELD);
  });

  it('takes up each address that was known before once, and no more than it has room for', () => {
    const { send, learn, neighbours, clock, asked } = world();
    send(key(1));
    learn(key(1));
    const others = Uint8Array.of(2, 0, 0, 0, 0xcc, 0xdd);
    for (const index of [1, 2, 2]) neighbours.recall(key(index), others, clock.now);
    expect([...neighbours.entries()]).toEqual([
      [key(1), '02:00:00:00:aa:bb'],
      [key(2), '02:00:00:00:cc:dd'],
    ]);
    for (let index = 3; index < 2000; index++) neighbours.recall(key(index), others, clock.now);
    expect(neighbours.known).toBe(NEIGHBOURS);
    expect(send(key(3000)), 'one gives way').toBe(HELD);
    expect(asked.at(-1)).toEqual({ key: key(3000), unicast: false });
    expect(neighbours.known).toBe(NEIGHBOURS - 1);
  });

  it('lets one port ask for 256 unanswered addresses, and others still ask', () => {
    const { send, asked, pass } = world();
    for (let index = 1; index <= 256; index++) expect(send(key(index), 0)).toBe(HELD);
    expect(send(key(300), 0)).toBe(CELL.neighbourUnresolved);
    expect(send(key(300), 1)).toBe(HELD);
    expect(asked.length).toBe(257);
    pass(6000);
    expect(send(key(301), 0), 'when they are forgotten').toBe(HELD);
  });

  it('keeps half of its places for neighbours that exist, and always asks for the next hop', () => {
    const { send, learn, neighbours, pass } = world();
    const gateway = keyOf('10.77.77.77');
    let held = 0;
    for (let index = 1; index <= 1500; index++)
      if (send(key(index), index % PORTS) === HELD) held++;
    expect(held).toBe(NEIGHBOURS / 2);
    expect(send(gateway, 0)).toBe(HELD);
    expect(learn(gateway)).toBe(true);
    // Those that failed make room.
    pass(3000);
    for (let index = 2000; index < 2200; index++) expect(send(key(index), 7)).toBe(HELD);
    expect(send(gateway, 0)).toBe(0);
    expect(neighbours.known).toBe(1);
  });

  it('asks for the next hop also where neighbours that exist have all places that those who scan have not', () => {
    const { send, learn, neighbours, counters } = world();
    const gateway = keyOf('10.77.77.77');
    for (let index = 1; index <= NEIGHBOURS / 2; index++) {
      expect(send(key(index))).toBe(HELD);
      expect(learn(key(index))).toBe(true);
    }
    for (let index = 1001; index <= 1000 + NEIGHBOURS / 2; index++)
      expect(send(key(index), index % PORTS)).toBe(HELD);
    expect(send(key(3000)), 'nobody else').toBe(CELL.neighbourUnresolved);
    expect(send(gateway)).toBe(HELD);
    expect(learn(gateway)).toBe(true);
    expect(send(gateway)).toBe(0);
    expect(neighbours.known, 'one gave up its place').toBe(NEIGHBOURS / 2);
    for (let port = 0; port < PORTS; port++)
      expect(counters.get(port, 'neighbourUnresolved'), 'those who scan wait on').toBe(0);
  });

  it('takes a few steps for a datagram, however many addresses are unanswered or known', () => {
    const table = countingTable();
    const { send, learn, pass } = world(table);
    const most = (first: number, count: number, result: number) => {
      let most = 0;
      for (let index = first; index < first + count; index++) {
        table.reads = 0;
        expect(send(key(index), index % PORTS)).toBe(result);
        most = Math.max(most, table.reads);
      }
      return most;
    };
    most(1, NEIGHBOURS / 2, HELD);
    expect(most(2000, 500, CELL.neighbourUnresolved), 'all are waited for').toBeLessThan(200);
    pass(3000);
    expect(most(3000, 500, HELD), 'those that failed are given up').toBeLessThan(200);
    pass(10_000);
    for (let index = 1; index <= NEIGHBOURS; index++) {
      send(key(index), index % PORTS);
      learn(key(index));
      send(key(index), index % PORTS);
    }
    expect(most(4000, 256, HELD), 'all are known and used').toBeLessThan(300);
  });

  it('gives a place up for a new neighbour when all are taken', () => {
    const { send, learn, neighbours } = world();
    for (let index = 1; index <= NEIGHBOURS + 100; index++) {
      expect(send(key(index))).toBe(HELD);
      expect(learn(key(index))).toBe(true);
      expect(send(key(1)), 'one is in use all the time').toBe(0);
    }
    expect(neighbours.known).toBe(NEIGHBOURS);
  });

  it('bounds what waits: per neighbour, per port, in all', () => {
    const { send, neighbours, counters } = world();
    let held = 0;
    for (let count = 0; count < 400; count++) if (send(key(1), 0, 60) === HELD) held++;
    expect(held).toBe(160);
    // Datagrams of 60 KB: one port has room for two, all have room for four.
    const large = [1, 1, 1, 2, 2, 3, 3, 4].map((from, index) =>
      send(key(10 + index), from, 60_000),
    );
    expect(large.filter((result) => result === HELD).length).toBe(4);
    expect(counters.get(1, 'waiting')).toBe(2);
    expect(neighbours.waiting.size).toBeLessThanOrEqual(256 << 10);
    neighbours.clear(CELL.adapterDown);
    expect(neighbours.waiting.size).toBe(0);
    expect(counters.get(0, 'adapterDown')).toBe(160);
    expect(counters.get(1, 'waiting')).toBe(0);
  });

  it('counts what the outbox has no room for', () => {
    const { send, learn, outbox, counters } = world();
    send(key(1));
    while (outbox.add(-1, 0, new Uint8Array(80)));
    learn(key(1));
    expect(counters.get(0, 'neighbourUnresolved')).toBe(1);
    expect(counters.get(0, 'waiting')).toBe(0);
  });

  it('keeps the books, whatever happens', () => {
    const step = fc.oneof(
      {
        weight: 5,
        arbitrary: fc.record({ send: fc.nat(12), from: fc.integer({ min: -1, max: 3 }) }),
      },
      { weight: 2, arbitrary: fc.record({ learn: fc.nat(12) }) },
      { weight: 2, arbitrary: fc.record({ pass: fc.constantFrom(1, 500, 1000, 3000, 40_000) }) },
      { weight: 1, arbitrary: fc.constant({ clear: true }) },
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 120 }), (steps) => {
        const { send, learn, pass, neighbours, counters, released } = world();
        const sent = new Array(PORTS).fill(0);
        const done = new Array(PORTS).fill(0);
        for (const action of steps) {
          if ('send' in action) {
            const result = send(key(action.send + 1), action.from);
            if (action.from >= 0) sent[action.from]++;
            if (action.from >= 0 && result !== HELD) done[action.from]++;
          } else if ('learn' in action) {
            learn(key(action.learn + 1));
            for (const { from } of released()) if (from >= 0) done[from]++;
          } else if ('pass' in action) pass(action.pass);
          else neighbours.clear(CELL.adapterGone);
          for (let port = 0; port < PORTS; port++) {
            const dropped =
              counters.get(port, 'neighbourUnresolved') + counters.get(port, 'adapterGone');
            expect(done[port] + dropped + counters.get(port, 'waiting')).toBe(sent[port]);
          }
        }
        neighbours.clear(CELL.adapterGone);
        expect(neighbours.waiting.size).toBe(0);
      }),
    );
  });
});
