/**
 * Ranked case 21: what one VM can take of a turn, counted in datagrams and not in time: whole bases in this process, every VM's rings filled by
 * the test before each turn. `npm run bench -- fairness` measures the same as rates and round trips.
 */
import { afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { Base } from '../../src/base/base.ts';
import type { BasePlan } from '../../src/base/plan.ts';
import { Counters } from '../../src/counters.ts';
import { native } from '../../src/native.ts';
import { bitsOf, FEATURE } from '../../src/virtio/features.ts';
import { Guest, partsOf, READ_BUFFERS, WRITE_BUFFERS } from '../fuzz/guest.ts';
import { DATAPATH } from '../support/datapath.ts';
import { BASE_IP, BASE_MAC } from '../support/daemon.ts';
import { type Host, udpFrame } from '../support/traffic.ts';

const SIZE = 256;
const BURST = 256;
const NEXT = 1;
const WRITE = 2;
const HEADER = 12;
const FEATURES = bitsOf([FEATURE.VERSION_1, FEATURE.PROTOCOL_FEATURES]);

interface Load {
  /** Bytes of the Ethernet frame. */
  bytes: number;
  descriptors: number;
}
const SMALL: Load = { bytes: 64, descriptors: 1 };
const ONE_BYTE_EACH: Load = { bytes: 64, descriptors: HEADER + 64 };
const LARGEST: Load = { bytes: 65_535, descriptors: 1 };

const VMS = 22;

/** One base (a thread has one arena) with many VMs. VM 0 takes what the others send. */
class Site {
  readonly #counters = new Counters(VMS);
  readonly #base: Base;
  readonly #guests = Array.from({ length: VMS }, (_, index) => new Guest(index));
  readonly #hosts: Host[] = this.#guests.map(({ number }) => ({
    ip: `10.77.0.${10 + number}`,
    mac: `52:54:00:00:01:${(16 + number).toString(16)}`,
  }));
  #now = 1000;

  constructor() {
    const plan: BasePlan = {
      networks: [
        {
          name: 'lan',
          subnet: '10.77.0.0',
          prefix: 24,
          address: BASE_IP,
          mac: BASE_MAC,
          mtu: 65_535,
          packed: false,
        },
      ],
      vms: this.#hosts.map(({ ip, mac }, index) => ({
        name: `vm${index}`,
        network: 0,
        addresses: [ip],
        prefixes: [],
        mac,
        management: false,
        worker: 0,
        sockets: [],
      })),
      adapters: [],
      datapath: { ...DATAPATH, poll: 'busy', burst: BURST },
    };
    const clock = () => this.#now;
    this.#base = new Base(native, plan, this.#counters.buffer, () => {}, clock);
  }

  /** All VMs come, with so many pairs of rings. Long after those before them. */
  begin(pairs: number): void {
    this.#now += 10_000;
    for (const guest of this.#guests) {
      const { port } = this.#base.portControls[guest.number];
      port.attach(guest.begin(FEATURES));
      for (let ring = 0; ring < 2 * pairs; ring++) guest.start(ring, SIZE, 0, true);
      this.#base.turn.activate(port);
    }
  }

  end(): void {
    for (const guest of this.#guests) {
      const { port } = this.#base.portControls[guest.number];
      port.detach(guest.attachment);
      this.#base.turn.forget(port);
    }
  }

  /** What a VM sends from now on, whenever it sends. */
  prepare(vm: number, { bytes, descriptors }: Load): void {
    const guest = this.#guests[vm];
    const frame = udpFrame(this.#hosts[vm], this.#hosts[0].ip, Buffer.alloc(bytes - 42));
    const at = READ_BUFFERS.start;
    guest.write(at, new Uint8Array(HEADER));
    guest.write(at + HEADER, frame);
    for (let index = 0; index < descriptors; index++) {
      const last = index === descriptors - 1;
      const length = last ? HEADER + bytes - index : 1;
      for (const ring of [1, 3, 5, 7]) {
        const place = partsOf(ring).descriptors + 16 * index;
        guest.descriptor(place, at + index, 0, length, last ? 0 : NEXT | ((index + 1) << 16));
      }
    }
  }

  /** Makes `count` more datagrams available, or as many as the ring holds. All entries name the chain at 0. */
  send(vm: number, count = SIZE, ring = 1): void {
    const { memory } = this.#guests[vm].regions[0];
    const { queue } = this.#guests[vm].attachment.ring(ring)!;
    const at = partsOf(ring).avail + 2;
    const offered = memory.readUInt16LE(at);
    const room = SIZE - ((offered - queue.nextAvail) & 0xffff);
    memory.writeUInt16LE((offered + Math.min(count, room)) & 0xffff, at);
  }

  /** What the VM received from this one in the turn. */
  turn(milliseconds = 0.01): number[] {
    this.#now += milliseconds;
    this.#offerInput();
    const before = this.#received();
    this.#base.turn.time[0] = this.#now;
    const given = this.#counters.get(0, 'sentBytes');
    this.#base.turn.run();
    expect(this.#base.turn.deliveredBytes).toBe(this.#counters.get(0, 'sentBytes') - given);
    const { copies } = (this.#base.turn as unknown as { context: { copies: { refused: number } } })
      .context;
    expect(copies.refused).toBe(0);
    return this.#received().map((count, vm) => count - before[vm]);
  }

  #received(): number[] {
    return this.#guests.map((_, vm) => this.#counters.get(vm, 'receivedDatagrams'));
  }

  /** VM 0 offers all its input buffers, all of them the same 64 KiB. */
  #offerInput(): void {
    const guest = this.#guests[0];
    const { memory } = guest.regions[0];
    const { queue } = guest.attachment.ring(0)!;
    const { avail, descriptors } = partsOf(0);
    guest.descriptor(descriptors, WRITE_BUFFERS.start, 0, 0x10000, WRITE);
    memory.writeUInt16LE((queue.nextAvail + SIZE) & 0xffff, avail + 2);
  }
}

let site: Site;
beforeAll(() => {
  site = new Site();
});
beforeEach(() => site.begin(1));
afterEach(() => site.end());

describe('a flooding VM and one that sends now and then', () => {
  const FLOODS = {
    'of 64 bytes': SMALL,
    'of one byte per descriptor': ONE_BYTE_EACH,
    'of 64 KiB': LARGEST,
  };
  for (const [name, load] of Object.entries(FLOODS)) {
    test(`datagrams ${name}: turns are short while it does`, () => {
      site.prepare(1, load);
      site.prepare(2, SMALL);
      site.send(1);
      const alone = site.turn()[1];
      let [before, sum] = [0, 0];
      for (let i = 0; i < 200; i++) {
        site.send(1);
        site.send(2, 1);
        const [, flood, light] = site.turn();
        expect(light).toBe(1);
        expect(flood + before, 'it goes on, every other turn at least').toBeGreaterThan(0);
        before = flood;
        if (i < 8) continue;
        sum += flood;
        expect(flood).toBeLessThanOrEqual(8);
        expect(flood * load.descriptors).toBeLessThan(64 + load.descriptors);
        expect(flood * load.bytes).toBeLessThan((32 << 10) + load.bytes);
      }
      expect(sum, 'it has every other turn').toBeGreaterThanOrEqual(192 / 2);
      // Once the other has been quiet for a while it may have all again, or half of it when its turn to be greedy is on.
      site.send(1);
      site.turn(20);
      site.send(1);
      expect(site.turn()[1]).toBeGreaterThanOrEqual(alone / 2);
    });
  }

  test('one that holds back every other turn gains nothing', () => {
    site.prepare(1, SMALL);
    site.prepare(2, SMALL);
    let most = 0;
    for (let i = 0; i < 200; i++) {
      site.send(1, i % 2 === 0 ? SIZE : 0);
      site.send(2, 1);
      const [, flood] = site.turn();
      if (i > 12) most = Math.max(most, flood);
    }
    expect(most).toBeLessThanOrEqual(8);
  });
});

describe('who is light', () => {
  test('few datagrams of many descriptors are not little', () => {
    site.prepare(1, ONE_BYTE_EACH);
    site.prepare(2, SMALL);
    let sum = 0;
    for (let i = 0; i < 200; i++) {
      site.send(1, 3);
      site.send(2, 1);
      const [, flood, light] = site.turn();
      expect(light).toBe(1);
      if (i < 8) continue;
      expect(flood).toBeLessThanOrEqual(1);
      sum += flood;
    }
    expect(sum).toBeGreaterThanOrEqual(192 / 2);
  });

  test('few datagrams in each of many short turns are not little', () => {
    site.prepare(1, SMALL);
    site.prepare(2, SMALL);
    for (let i = 0; i < 400; i++) {
      site.send(1);
      site.send(2, 4);
      const [, flood, many] = site.turn(0.001); // four in a microsecond
      expect(many).toBe(4);
      if (i >= 100) expect(flood).toBeGreaterThanOrEqual(64);
    }
  });

  test('who was light and now sends much is not held up by what it was', () => {
    site.prepare(1, SMALL);
    for (let i = 0; i < 50; i++) {
      site.send(1, 1);
      expect(site.turn()[1]).toBe(1);
    }
    for (let i = 0; i < 20; i++) {
      site.send(1);
      expect(site.turn()[1]).toBeGreaterThanOrEqual(64);
    }
  });
});

describe('a flooding VM and one that sends much', () => {
  /** What VM 1, which floods, and VM 2, which has `count` for each turn, bring in 128 turns. */
  function beside(count?: number): [number, number] {
    site.prepare(1, SMALL);
    site.prepare(2, SMALL);
    const sums: [number, number] = [0, 0];
    for (let i = 0; i < 128; i++) {
      site.send(1);
      site.send(2, count);
      const [, one, other] = site.turn();
      sums[0] += one;
      sums[1] += other;
    }
    return sums;
  }

  for (const [name, load] of Object.entries({
    'of 64 bytes': SMALL,
    'of one byte per descriptor': ONE_BYTE_EACH,
  })) {
    test(`datagrams ${name}: what the other sends per turn is taken in that turn, and the flood has half`, () => {
      site.prepare(1, load);
      site.prepare(2, SMALL);
      let [flood, much] = [0, 0];
      for (let i = 0; i < 128; i++) {
        site.send(1);
        site.send(2, 120);
        const [, one, other] = site.turn();
        expect(other).toBe(120);
        flood += one * load.descriptors;
        much += other;
      }
      expect(flood).toBeLessThan(2 * 0.75 * much); // twice as many descriptors as datagrams, and a chain begun is taken
      expect(flood).toBeGreaterThan(0.4 * much);
    });
  }

  test('both flood: each has the same', () => {
    const [first, second] = beside();
    expect(first / second).toBeGreaterThan(0.95);
    expect(first / second).toBeLessThan(1.05);
    expect(first).toBeGreaterThanOrEqual(128 * 64);
  });

  test('one that asks for a little less than it may gains no more than twice as much', () => {
    const [flood, sly] = beside(127);
    expect(sly).toBeLessThanOrEqual(2 * flood);
  });

  test('four pairs of rings bring no more than one', () => {
    site.end();
    site.begin(4);
    site.prepare(1, SMALL);
    site.prepare(2, SMALL);
    let [four, one] = [0, 0];
    for (let i = 0; i < 128; i++) {
      for (const ring of [1, 3, 5, 7]) site.send(1, SIZE, ring);
      site.send(2, SIZE, 1);
      const [, all, single] = site.turn();
      expect(all).toBeLessThanOrEqual(BURST);
      four += all;
      one += single; // it has four pairs as well, and uses one
    }
    expect(four / one).toBeGreaterThan(0.95 * 4);
    expect(four / one).toBeLessThan(1.05 * 4);
  });
});

test('twenty VMs fill base storage with the largest datagrams: nobody is always last', () => {
  const FLOODERS = Array.from({ length: 20 }, (_, index) => index + 1);
  for (const vm of FLOODERS) site.prepare(vm, LARGEST);
  site.prepare(21, { bytes: 1514, descriptors: 1 });
  const sums = Array<number>(VMS).fill(0);
  const TURNS = 84; // each VM begins four times
  for (let i = 0; i < TURNS; i++) {
    for (const vm of FLOODERS) site.send(vm);
    site.send(21, 64);
    site.turn().forEach((count, vm) => {
      sums[vm] += count;
    });
  }
  // Storage holds what some sixteen of them bring: each is left out now and then.
  expect(sums[21]).toBeGreaterThan(0.6 * 64 * TURNS);
  const floods = sums.slice(1, 21);
  expect(Math.max(...floods)).toBeLessThan(1.5 * Math.min(...floods));
});
