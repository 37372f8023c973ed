/**
 * Random sequences of requests, time and what becomes of openings, against a model that knows only the promises: who may hold the
 * lease, that every request is answered exactly once and in time, and when the adapter may close.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { FIRST, NAMES, type Reply, Rig, SECOND, THIRD, uplink, WEB } from './rig.ts';

const LEASE = 10_000;

interface Model {
  holder: number;
  expires: number;
  /** Requests without a reply: id → when it was sent. */
  unanswered: Map<number, number>;
  nextId: number;
}

/** Takes the replies that came since, and checks each. */
function settle(model: Model, rig: Rig): Reply[] {
  const replies = rig.replies.splice(0);
  for (const { at, id, vm, ok, error } of replies) {
    const sent = model.unanswered.get(id as number);
    expect(sent, `a second reply to ${id}, or one to nothing`).toBeDefined();
    expect(at - sent!).toBeLessThanOrEqual(5000);
    model.unanswered.delete(id as number);
    if (vm === WEB) expect([ok, error]).toEqual([false, 'forbidden']);
    if (!ok) expect(['forbidden', 'unavailable', 'held']).toContain(error);
  }
  return replies;
}

function check(model: Model, rig: Rig): void {
  if (model.holder >= 0 && rig.now >= model.expires) model.holder = -1;
  expect(rig.holder).toBe(model.holder < 0 ? null : NAMES[model.holder]);
  for (const sent of model.unanswered.values()) expect(rig.now - sent).toBeLessThan(5000);
  expect(model.unanswered.size).toBeLessThanOrEqual(16);
}

class Send implements fc.Command<Model, Rig> {
  readonly vm: number;
  readonly op: string;
  constructor(vm: number, op: string) {
    this.vm = vm;
    this.op = op;
  }
  check = () => true;
  run(model: Model, rig: Rig): void {
    // So that the limit, which is another test's matter, is never reached.
    rig.pass(50);
    settle(model, rig);
    check(model, rig);
    const before = model.holder;
    const id = model.nextId++;
    const state = rig.states[0];
    model.unanswered.set(id, rig.now);
    rig.send(this.vm, { id, op: this.op, ...(this.op !== 'status' && { adapter: 'uplink' }) });
    const reply = settle(model, rig).find((candidate) => candidate.id === id);
    const mayTake = before < 0 || before === this.vm;
    if (this.vm === WEB || this.op === 'status') {
      expect(reply).toBeDefined();
    } else if (!mayTake) {
      expect(reply).toMatchObject({ ok: false, error: 'held' });
    } else if (this.op === 'open') {
      if (reply?.error === 'held') {
        // Only a more preferred stand-by puts off, and only when nobody holds it.
        expect(before).toBe(-1);
        expect(this.vm).not.toBe(FIRST);
      } else {
        model.holder = this.vm;
        model.expires = rig.now + LEASE;
        const attached = state === 'open' || state === 'down';
        if (attached) expect(reply).toMatchObject({ ok: true, lease: 10 });
        else if (reply !== undefined) expect(reply.error).toBe('unavailable'); // too many wait
      }
    } else if (this.op === 'renew') {
      expect(reply).toMatchObject(before === this.vm ? { ok: true, lease: 10 } : { error: 'held' });
      if (before === this.vm) model.expires = rig.now + LEASE;
    } else {
      expect(reply).toMatchObject({ ok: true, state: 'closed' });
      expect(model.unanswered.size).toBe(0);
      model.holder = -1;
    }
    check(model, rig);
  }
  toString = () => `${NAMES[this.vm]} ${this.op}`;
}

class Pass implements fc.Command<Model, Rig> {
  readonly milliseconds: number;
  constructor(milliseconds: number) {
    this.milliseconds = milliseconds;
  }
  check = () => true;
  run(model: Model, rig: Rig): void {
    const state = rig.states[0];
    rig.pass(this.milliseconds);
    settle(model, rig);
    if (state !== 'closed' && rig.states[0] === 'closed') {
      expect(rig.closed.at(-1)).toBe('no controller is left');
      expect(rig.now).toBeGreaterThanOrEqual(model.expires);
    }
    check(model, rig);
  }
  toString = () => `${this.milliseconds} ms pass`;
}

class Outcome implements fc.Command<Model, Rig> {
  readonly opens: boolean;
  constructor(opens: boolean) {
    this.opens = opens;
  }
  check = () => true;
  run(model: Model, rig: Rig): void {
    if (!rig.opening.has(0)) return;
    if (this.opens) {
      rig.opened();
    } else {
      if (rig.states[0] === 'closed') model.holder = -1;
      rig.refused('no');
    }
    settle(model, rig);
    expect(model.unanswered.size, 'nobody waits any longer').toBe(0);
    check(model, rig);
  }
  toString = () => (this.opens ? 'opened' : 'refused');
}

class Link implements fc.Command<Model, Rig> {
  readonly to: 'open' | 'down' | 'gone';
  constructor(to: 'open' | 'down' | 'gone') {
    this.to = to;
  }
  check = () => true;
  run(model: Model, rig: Rig): void {
    if (rig.states[0] === 'open' || rig.states[0] === 'down') rig.states[0] = this.to;
    check(model, rig);
  }
  toString = () => `interface ${this.to}`;
}

describe('the control service under random commands', () => {
  it.each(['keep', 'close'] as const)(
    'keeps its promises with onControllerLoss %s',
    (onControllerLoss) => {
      const vm = fc.constantFrom(WEB, FIRST, FIRST, SECOND, SECOND, THIRD);
      const op = fc.constantFrom('open', 'open', 'open', 'renew', 'close', 'status');
      const commands = [
        fc.tuple(vm, op).map(([vm, op]) => new Send(vm, op)),
        fc
          .constantFrom(1, 100, 900, 3000, 5000, 9999, 10_000, 21_000)
          .map((time) => new Pass(time)),
        fc.boolean().map((opens) => new Outcome(opens)),
        fc
          .constantFrom('open' as const, 'down' as const, 'gone' as const)
          .map((to) => new Link(to)),
      ];
      fc.assert(
        fc.property(fc.commands(commands, { maxCommands: 60 }), (list) => {
          const model: Model = { holder: -1, expires: 0, unanswered: new Map(), nextId: 1 };
          const rig = new Rig(uplink({ onControllerLoss }));
          const setup = () => ({ model, real: rig });
          fc.modelRun(setup, list);
          rig.pass(5000);
          settle(model, rig);
          expect(model.unanswered.size, 'everybody got an answer').toBe(0);
        }),
        { numRuns: 300 },
      );
    },
  );
});
