/** One case of the ring fuzzer, all of it from one seed: features, rings, and some turns of traffic with lies in it. */
import { FEATURE, bitsOf, type Bits } from '../../src/virtio/features.ts';
import { Random } from '../support/random.ts';
import { Driver, type Temper } from './driver.ts';
import { packetsOf } from './frames.ts';
import { HOSTS, type Lab } from './lab.ts';

const SOMETIMES = [
  FEATURE.MRG_RXBUF,
  FEATURE.EVENT_IDX,
  FEATURE.INDIRECT_DESC,
  FEATURE.CSUM,
  FEATURE.GUEST_CSUM,
  FEATURE.HOST_TSO4,
  FEATURE.GUEST_TSO4,
  FEATURE.HOST_ECN,
  FEATURE.VERSION_1,
];

const packets = [packetsOf(HOSTS[0], HOSTS[1]), packetsOf(HOSTS[1], HOSTS[0])];

function someFeatures(random: Random): Bits {
  const bits: number[] = SOMETIMES.filter(() => random.chance(0.75));
  if (random.chance(0.33)) bits.push(FEATURE.RING_PACKED, FEATURE.VERSION_1);
  bits.push(FEATURE.PROTOCOL_FEATURES);
  return bitsOf(bits);
}

function someTemper(random: Random): Temper {
  const calm = random.chance(0.3);
  return {
    content: calm ? 0 : 0.2,
    descriptor: calm ? 0 : random.pick([0.02, 0.1, 0.4]),
    index: calm ? 0 : random.pick([0, 0, 0.02, 0.1]),
    indirect: random.pick([0, 0.3, 0.8]),
  };
}

export function fuzzCase(lab: Lab, seed: number): void {
  const random = new Random(seed);
  const features = [someFeatures(random), someFeatures(random)];
  lab.do({ op: 'begin', features });
  const drivers: Driver[] = [];
  const temper = someTemper(random);
  // Long after the case before it, so that rate limits have recovered.
  let now = (seed % 1_000_000) * 100_000;

  const restart = (vm: number, index: number) => {
    const packed = lab.guests[vm].attachment.ring(index)!.queue.format === 'packed';
    const small = random.chance(0.25);
    const size = packed
      ? random.between(1, small ? 16 : 256)
      : 1 << (small ? random.below(5) : random.between(5, 8));
    const base = packed ? random.below(size) | (random.below(2) << 15) : random.word() & 0xffff;
    lab.guests[vm].regions[0].memory.fill(0, index * 0x2000, index * 0x2000 + 0x2000);
    lab.do({ op: 'start', vm, ring: index, size, base, enabled: random.chance(0.95) });
    const { headerBytes } = lab.guests[vm].attachment;
    const ring = lab.ring(vm, index);
    const honest = ring.queue.indirect || random.chance(0.1);
    drivers[vm * 4 + index] = new Driver(
      lab.guests[vm],
      ring,
      random,
      honest ? temper : { ...temper, indirect: 0 },
      packets[vm],
      headerBytes,
    );
    // All that a driver offers at its start.
    if (ring.isInput) drivers[vm * 4 + index].add(random.between(0, size));
  };

  for (const vm of [0, 1]) {
    for (const index of [0, 1]) {
      lab.guests[vm].attachment.ring(index);
      restart(vm, index);
    }
  }
  const turns = random.between(2, 16);
  for (let turn = 0; turn < turns; turn++) {
    for (const driver of drivers) {
      if (driver === undefined || random.chance(0.15)) continue;
      driver.add(random.below(driver.ring.isInput ? 128 : 64));
    }
    now += random.below(4);
    const before = drivers.map((driver) => driver?.ring.queue.nextAvail);
    lab.do({ op: 'turn', now });
    if (random.chance(0.2)) lab.do({ op: 'quieten', now: now + 1 });
    drivers.forEach((driver, place) => {
      const { ring } = driver;
      const stuck =
        !ring.isInput && driver.outstanding > 0 && ring.queue.nextAvail === before[place];
      if (ring.usable && !stuck && !random.chance(0.01)) return;
      const vm = place >> 2;
      lab.do({ op: 'stop', vm, ring: ring.index });
      if (random.chance(0.97)) restart(vm, ring.index);
      else delete drivers[place];
    });
  }
  lab.do({ op: 'end' });
}
