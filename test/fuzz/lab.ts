/**
 * The ring fuzzer's bench: a whole Base in this process, two VMs whose rings the test writes, and the oracle around every turn.
 * Whatever is done to it is an `Op`, so that a failing case can be written down and done again without the generator.
 */
import { deflateRawSync, inflateRawSync } from 'node:zlib';
import { Base } from '../../src/base/base.ts';
import { CELL, Counters, DROP_REASONS, type DropReason, RECORD_CELLS } from '../../src/counters.ts';
import { type Native, native } from '../../src/native.ts';
import type { Ring } from '../../src/port/ring.ts';
import type { BaseStorage } from '../../src/storage/base-storage.ts';
import type { CopyList } from '../../src/storage/copy-list.ts';
import { Chain } from '../../src/virtio/chain.ts';
import type { Bits } from '../../src/virtio/features.ts';
import { PackedChain } from '../../src/virtio/packed-chain.ts';
import { keyOf } from '../../src/wire/ipv4-address.ts';
import { lanPlan } from '../support/lan-plan.ts';
import { BASE_MAC } from '../support/daemon.ts';
import { macBytes } from '../support/packets.ts';
import { A, B, C, type Host } from '../support/traffic.ts';
import { Guest } from './guest.ts';
import { Oracle, Violation } from './oracle.ts';

export type Op =
  | { op: 'begin'; features: Bits[] }
  | { op: 'start'; vm: number; ring: number; size: number; base: number; enabled: boolean }
  | { op: 'stop'; vm: number; ring: number }
  /** `images`: per VM and region what the memory holds, deflated and in base64. */
  | { op: 'turn'; now: number; images?: string[][] }
  | { op: 'quieten'; now: number }
  | { op: 'end' };

/** What the base keeps to itself and the oracle looks at. */
interface Insides {
  context: {
    storage: BaseStorage;
    copies: CopyList;
    backlogStart(port: number): number;
  };
}

export const HOSTS: readonly Host[] = [A, B];

/** A MAC as the arena's views show it: two bytes, then four. */
function macOf(text: string): { half: number; word: number } {
  const bytes = macBytes(text);
  return { half: bytes.readUInt16LE(0), word: bytes.readInt32LE(2) };
}
const MACS = HOSTS.map(({ mac }) => macOf(mac));
const BASE_MACS = {
  word: macBytes(BASE_MAC).readInt32LE(0),
  half: macBytes(BASE_MAC).readUInt16LE(4),
};
const KEYS = HOSTS.map(({ ip }) => keyOf(ip));
const SUBNET_BROADCAST = keyOf('10.77.0.255');

// C never comes.
const plan = lanPlan(
  [A, B, C].map(({ ip, mac }, index) => ({ name: 'abc'[index], addresses: [ip], mac })),
  { packed: true },
  { poll: 'busy' },
);

export class Lab {
  readonly guests = [new Guest(0), new Guest(1)];
  readonly oracle = new Oracle(this.guests);
  readonly counters = new Counters(plan.vms.length);
  /** Descriptors looked at in vain or not, since the start. */
  steps = 0;
  /** Written down when not null. */
  record: Op[] | null = null;
  readonly #base: Base;
  readonly #insides: Insides['context'];
  readonly #owners = new Map<number, number>();
  #now = 0;

  constructor() {
    const watched: Native = Object.create(native, {
      deliverCopies: {
        value: (count: number) => {
          this.#checkRows(count);
          return native.deliverCopies(count);
        },
      },
    });
    this.#base = new Base(
      watched,
      plan,
      this.counters.buffer,
      () => {},
      () => this.#now,
    );
    this.#insides = (this.#base.turn as unknown as Insides).context;
    for (const guest of this.guests)
      for (const { handle } of guest.regions) this.#owners.set(handle, guest.number);
    this.#boundSteps();
  }

  /** Does one thing. Throws a Violation when a rule is broken, or whatever the base threw. */
  do(op: Op): void {
    this.record?.push(op.op === 'turn' ? { ...op, images: this.#images() } : op);
    switch (op.op) {
      case 'begin':
        // A case that was kept may have no end of its own.
        this.end();
        for (const guest of this.guests) {
          const { port } = this.#base.portControls[guest.number];
          port.attach(guest.begin(op.features[guest.number]));
        }
        break;
      case 'start':
        this.guests[op.vm].start(op.ring, op.size, op.base, op.enabled);
        break;
      case 'stop': {
        const { attachment } = this.guests[op.vm];
        const ring = attachment.ring(op.ring)!;
        ring.started = false;
        ring.queue.stop();
        attachment.refresh();
        break;
      }
      case 'turn':
        this.#turn(op.now, op.images);
        break;
      case 'quieten':
        this.#now = op.now;
        this.#base.turn.time[0] = op.now;
        this.#base.turn.attention.quieten(false);
        break;
      case 'end':
        this.end();
        break;
    }
  }

  ring(vm: number, index: number): Ring {
    return this.guests[vm].attachment.ring(index)!;
  }

  /** The front-ends leave; what waited for them is dropped. Safe to call at any time. */
  end(): void {
    const { turn, portControls } = this.#base;
    for (const guest of this.guests) {
      const { port } = portControls[guest.number];
      port.detach(guest.attachment);
      turn.forget(port);
    }
    this.#checkBooks();
  }

  #turn(now: number, images: string[][] | undefined): void {
    this.#now = now;
    images?.forEach((regions, vm) => {
      regions.forEach((text, index) => {
        inflateRawSync(Buffer.from(text, 'base64')).copy(this.guests[vm].regions[index].memory);
      });
    });
    const { turn, portControls } = this.#base;
    for (const { number } of this.guests) {
      const { port } = portControls[number];
      turn.activate(port);
      port.lastWork = now;
    }
    this.oracle.before();
    turn.time[0] = now;
    turn.run();
    this.oracle.after();
    this.#checkBooks();
    if (this.#insides.copies.refused > 0)
      throw new Violation('the addon refused a row: an address was not checked');
  }

  #images(): string[][] {
    return this.guests.map(({ regions }) =>
      regions.map(({ memory }) => deflateRawSync(memory).toString('base64')),
    );
  }

  // --- rules that need the base's insides ---------------------------------------------------------

  #boundSteps(): void {
    const lab = this;
    const { walk } = Chain.prototype;
    Chain.prototype.walk = function (this: Chain, table, size, ...rest) {
      const before = this.steps;
      const outcome = walk.call(this, table, size, ...rest);
      lab.#count(this.steps - before, size);
      return outcome;
    };
    const { take } = PackedChain.prototype;
    PackedChain.prototype.take = function (this: PackedChain, queue, writable, chain, memory) {
      const before = chain.steps;
      const outcome = take.call(this, queue, writable, chain, memory);
      // The descriptor of an indirect table counts besides the table.
      lab.#count(chain.steps - before, queue.size + 1);
      return outcome;
    };
  }

  #count(steps: number, most: number): void {
    this.steps += steps;
    // The ring's own descriptors, and a table.
    if (steps > 2 * most) throw new Violation(`${steps} steps for one chain, at most ${2 * most}`);
  }

  /** Every row leads from a datagram to the VM that it was routed to. */
  #checkRows(count: number): void {
    const { copies, storage, backlogStart } = this.#insides;
    for (let row = 0; row < count; row++) {
      const owner = this.#owners.get(copies.cells[row * 6 + 2]);
      const arena = copies.cells[row * 6 + 3];
      const length = copies.cells[row * 6 + 4];
      if (owner === undefined) throw new Violation('a row names a region of nobody');
      if (arena >= storage.limit) {
        const start = backlogStart(owner);
        if (arena < start || arena + length > backlogStart(owner + 1))
          throw new Violation(`VM ${owner} got what waited for another`);
        continue;
      }
      const slot = slotAt(storage, arena);
      if (slot < 0 || arena + length > storage.at[slot] + storage.length[slot])
        throw new Violation(`VM ${owner} got bytes that are no datagram's`);
      if (storage.to[slot] !== owner)
        throw new Violation(`VM ${owner} got a datagram for ${storage.to[slot]}`);
      checkAddressed(storage, slot, owner);
    }
  }

  #checkBooks(): void {
    for (const { number } of this.guests) {
      const sum = this.counters.get(number, 'delivered') + this.counters.get(number, 'waiting');
      const received = this.counters.get(number, 'receivedDatagrams');
      const drops = this.drops(number).reduce((total, [, amount]) => total + amount, 0);
      if (received !== sum + drops)
        throw new Violation(`VM ${number}: received ${received}, accounted for ${sum + drops}`);
    }
  }

  drops(vm: number): [DropReason, number][] {
    return (Object.keys(DROP_REASONS) as DropReason[]).map((reason) => [
      reason,
      this.counters.cells[vm * RECORD_CELLS + CELL[reason]],
    ]);
  }
}

/** The slot whose header or frame an arena offset lies in, or -1. */
function slotAt(storage: BaseStorage, arena: number): number {
  let low = 0;
  let high = storage.count - 1;
  while (low <= high) {
    const middle = (low + high) >> 1;
    const start = storage.at[middle] - 12;
    if (arena < start) high = middle - 1;
    else if (arena >= storage.at[middle] + Math.max(storage.length[middle], 1)) low = middle + 1;
    else return middle;
  }
  return -1;
}

/** MAC and IPv4 destination are the receiver's own, everybody's or a group's; the source is the base's. */
function checkAddressed(storage: BaseStorage, slot: number, owner: number): void {
  const { bytes, halves, words } = storage;
  const at = storage.at[slot];
  const own = halves[at >> 1] === MACS[owner].half && words[(at + 2) >> 2] === MACS[owner].word;
  const all = halves[at >> 1] === 0xffff && words[(at + 2) >> 2] === -1;
  const fromBase =
    words[(at + 6) >> 2] === BASE_MACS.word && halves[(at + 10) >> 1] === BASE_MACS.half;
  const key = words[(at + 30) >> 2];
  const isIp = bytes[at + 12] === 8 && bytes[at + 13] === 0;
  const isMulticast = isIp && (key & 0xf0) === 0xe0;
  // RFC 1112 §6.4: 01:00:5e and the lower 23 bits of the group.
  const group =
    bytes.subarray(at, at + 3).every((byte, index) => byte === [1, 0, 0x5e][index]) &&
    bytes[at + 3] === (bytes[at + 31] & 0x7f) &&
    bytes[at + 4] === bytes[at + 32] &&
    bytes[at + 5] === bytes[at + 33];
  if (!(isMulticast ? group : own || all) || !fromBase)
    throw new Violation(`VM ${owner} got ${frameText(storage, slot)}`);
  if (!isIp || isMulticast) return;
  if (key !== KEYS[owner] && key !== SUBNET_BROADCAST && key !== -1)
    throw new Violation(`VM ${owner} got ${frameText(storage, slot)}`);
}

function frameText({ bytes, at, length, from }: BaseStorage, slot: number): string {
  const shown = bytes.subarray(at[slot], at[slot] + Math.min(length[slot], 80));
  return `from ${from[slot]}: ${Buffer.from(shown).toString('hex')} (${length[slot]} bytes)`;
}
