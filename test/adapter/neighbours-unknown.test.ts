/** Neighbours of the LAN that are not known yet: whoever asks for many of them, or sends much, keeps no other VM from its own. */
import { describe, expect, it } from 'vitest';
import type { AdapterContext } from '../../src/adapter/context.ts';
import { Neighbours } from '../../src/adapter/neighbours.ts';
import { WaitingRoom } from '../../src/adapter/waiting-room.ts';
import { Counters } from '../../src/counters.ts';
import { HELD } from '../../src/routing/verdict.ts';
import { Outbox } from '../../src/storage/outbox.ts';
import { keyOf } from '../../src/wire/ipv4-address.ts';
import { cellClock } from '../support/cell-clock.ts';
import { dirtyStorage, putFrame } from '../support/slots.ts';

const MAC = Uint8Array.of(2, 0, 0, 0, 0, 1);
const PORTS = 8;
function neighbours() {
  const storage = dirtyStorage();
  const counters = new Counters(PORTS + 1);
  const told: number[] = [];
  const clock = cellClock();
  const context = {
    storage,
    counters,
    outbox: new Outbox(counters),
    port: PORTS,
    senders: PORTS + 1,
    plan: { nextHop: null },
    now: () => clock.now,
    time: clock.time,
    due: () => {},
    unreached: (from: number) => told.push(from),
  } as unknown as AdapterContext;
  const table = new Neighbours(context, new Uint16Array(3), -1, () => {});
  return {
    clock,
    told,
    tick: () => table.tick(clock.now),
    learn: (key: number) => table.learn(key, MAC, 0, clock.now),
    send(key: number, from: number, size = 60): number {
      storage.clear();
      return table.resolve(putFrame(storage, new Uint8Array(size), {}, from), key);
    },
  };
}
const key = (index: number) => keyOf(`10.77.${index >> 8}.${index & 255}`);

describe('neighbours that nobody has', () => {
  it.each([2, 3, 4, 7])(
    'asked for by %i VMs that scan, keep no other VM from asking for one',
    (scanning) => {
      const { send, learn, clock, tick } = neighbours();
      let next = 1;
      let lost = 0;
      let tried = 0;
      // They scan a /20, a datagram of each every millisecond; another one begins to talk to a new host ten times a second.
      for (let at = 0; at < 12_000; at++) {
        clock.now = at;
        tick();
        for (let vm = 0; vm < scanning; vm++) send(key(next++ % 4000), vm);
        if (at % 100 === 50) {
          tried++;
          // Of those it talks to nearly all answer.
          const host = key(5000 + tried);
          if (send(host, 7) !== HELD) lost++;
          else if (tried % 10 !== 0) learn(host);
        }
      }
      expect(`${lost} of ${tried}`).toBe(`0 of ${tried}`);
    },
  );

  it('what waits for them takes nothing from what another VM has waiting', () => {
    const { send } = neighbours();
    for (const [index, from] of [0, 0, 1, 1].entries()) send(key(10 + index), from, 65_524);
    for (let index = 0; index < 100; index++) send(key(20), 1, 1514);
    expect(send(key(30), 2, 1514)).toBe(HELD);
  });

  it('one VM that floods a neighbour leaves another one room to wait for it', () => {
    const room = new WaitingRoom(new Counters(3), 3);
    for (let count = 0; count < 1000; count++)
      if (room.admits(7, 0, 72)) room.add(7, 0, new Uint8Array(72));
    expect(room.admits(7, 1, 72)).toBe(true);
  });

  it('all who waited in vain are told', () => {
    const { send, clock, tick, told } = neighbours();
    for (const from of [0, 1, 1, 2]) expect(send(key(9), from)).toBe(HELD);
    for (clock.now = 0; clock.now <= 4000; clock.now += 100) tick();
    expect(told).toEqual([0, 1, 1, 2]);
  });
});
