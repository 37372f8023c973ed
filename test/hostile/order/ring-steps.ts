/** What a front-end can say about one ring, and what must come of it. */
import { native } from '../../../src/native.ts';
import {
  NO_DESCRIPTOR,
  PROTOCOL_FEATURE,
  REQUEST,
  u64,
  vringState,
} from '../../support/protocol.ts';
import { ALL_PROTOCOL, type OrderBench, type Peer, SIZE } from './bench.ts';
import type { Model, RingModel } from './model.ts';

/** vitest's `expect` is too slow for millions of them. */
export function same<T>(what: string, actual: T, expected: T): void {
  if (actual !== expected) throw new Error(`${what}: ${actual} instead of ${expected}`);
}

/** What runs: the VM under test on the bench. */
export interface Real {
  bench: OrderBench;
  a: Peer;
  shadows: Buffer[];
}

export function connect(model: Model, { a }: Real): void {
  model.reset();
  a.connect();
  a.exchange(REQUEST.SET_PROTOCOL_FEATURES, u64(ALL_PROTOCOL));
  same('the features are taken', order(a, REQUEST.SET_FEATURES, u64(a.features)), true);
  for (const ring of a.rings) ring.features = a.features;
  a.fill();
}

/** With NEED_REPLY, always: true, false, or null when no acknowledgement came. */
function order(a: Peer, request: number, payload: Buffer, fds: number[] = []): boolean | null {
  const reply = a.exchange(request, payload, fds, true);
  if (reply === null) return null;
  same('bytes of an acknowledgement', reply.length, 8);
  return reply.readBigUInt64LE(0) === 0n;
}

/** The step is `done` or refused, acknowledged if that was negotiated. */
export function told(
  model: Model,
  real: Real,
  request: number,
  payload: Buffer,
  fds: number[],
  done: boolean,
) {
  const acknowledges = model.has(PROTOCOL_FEATURE.REPLY_ACK);
  const before = real.bench.count('nacks');
  const answer = order(real.a, request, payload, fds);
  same('closed', real.a.closed, false);
  same('the acknowledgement', answer, acknowledges ? done : null);
  same('nacks', real.bench.count('nacks') - before, done ? 0 : 1);
}

export function closes(real: Real, request: number, payload: Buffer, fds: number[] = []): void {
  real.a.exchange(request, payload, fds, true);
  same('closed', real.a.closed, true);
}

export type Take = (model: Model, real: Real) => void;

/** A request about ring `index` (0: input, 1: output) that changes the model by `then` when `may` allows it. */
function ringStep(
  index: number,
  request: number,
  payload: (a: Peer) => Buffer,
  fds: (a: Peer) => number[],
  may: (model: Model, ring: RingModel) => boolean,
  then: (model: Model, ring: RingModel) => void,
): Take {
  return (model, real) => {
    const ring = model.ring(index);
    const done = may(model, ring);
    then(model, ring);
    told(model, real, request, payload(real.a), fds(real.a), done);
  };
}

const NONE = () => [];

export function ringSteps(index: number): Record<string, Take> {
  const name = index === 0 ? 'input' : 'output';
  const kick = (fds: (a: Peer) => number[], value: bigint): Take =>
    ringStep(
      index,
      REQUEST.SET_VRING_KICK,
      () => u64(value),
      fds,
      (model, ring) =>
        ring.mapped || model.mappable(ring) || (!ring.started && model.lacksParts(ring)),
      (model, ring) => {
        // Refused, it stays as it was.
        if (ring.mapped || model.mappable(ring)) model.start(ring);
        else if (!ring.started && model.lacksParts(ring)) ring.waits = true;
      },
    );
  return {
    [`${name}: size`]: ringStep(
      index,
      REQUEST.SET_VRING_NUM,
      () => vringState(index, SIZE),
      NONE,
      (_, ring) => !ring.started || ring.sized,
      (model, ring) => {
        ring.sized ||= !ring.started;
        model.partCame(ring);
      },
    ),
    [`${name}: address`]: (model, real) => {
      const ring = model.ring(index);
      // Nobody can tell while there is no memory; a started ring's address may be said again.
      const inside = !ring.sized || model.regions.size === 0 || model.regions.has(1);
      const done = (ring.started && ring.addressed) || inside;
      if (done) ring.addressed = true;
      model.partCame(ring);
      told(model, real, REQUEST.SET_VRING_ADDR, real.a.address(index), [], done);
    },
    [`${name}: base`]: ringStep(
      index,
      REQUEST.SET_VRING_BASE,
      (a) => vringState(index, a.rings[index].usedBase),
      NONE,
      (_, ring) => !ring.started,
      () => {},
    ),
    [`${name}: start`]: kick((a) => [a.rings[index].kickDescriptor], BigInt(index)),
    [`${name}: start, to be polled`]: kick(NONE, BigInt(index) | NO_DESCRIPTOR),
    [`${name}: start with no eventfd`]: (model, real) => {
      model.ring(index);
      const fd = real.a.memory.regions[0].descriptor;
      told(model, real, REQUEST.SET_VRING_KICK, u64(BigInt(index)), [fd], false);
    },
    [`${name}: stop`]: (model, real) => {
      const ring = model.ring(index);
      const reply = real.a.exchange(REQUEST.GET_VRING_BASE, vringState(index, 0))!;
      same('the ring answered for', reply.readUInt32LE(0), index);
      same('where it stopped', reply.readUInt32LE(4), real.a.rings[index].usedBase);
      ring.started = false;
      ring.waits = false;
      ring.mapped = false;
    },
    [`${name}: enable`]: ringStep(
      index,
      REQUEST.SET_VRING_ENABLE,
      () => vringState(index, 1),
      NONE,
      () => true,
      (_, ring) => {
        ring.enabled = true;
        ring.asked = true;
      },
    ),
    [`${name}: disable`]: ringStep(
      index,
      REQUEST.SET_VRING_ENABLE,
      () => vringState(index, 0),
      NONE,
      () => true,
      (_, ring) => {
        ring.enabled = false;
        ring.asked = true;
      },
    ),
    [`${name}: enable by half`]: ringStep(
      index,
      REQUEST.SET_VRING_ENABLE,
      () => vringState(index, 2),
      NONE,
      () => false,
      () => {},
    ),
    [`${name}: call`]: ringStep(
      index,
      REQUEST.SET_VRING_CALL,
      () => u64(BigInt(index)),
      (a) => [a.rings[index].callDescriptor],
      () => true,
      () => {},
    ),
    [`${name}: err`]: ringStep(
      index,
      REQUEST.SET_VRING_ERR,
      () => u64(BigInt(index)),
      (a) => [a.rings[index].errorDescriptor],
      () => true,
      () => {},
    ),
    [`${name}: size 3000000`]: ringStep(
      index,
      REQUEST.SET_VRING_NUM,
      () => vringState(index, 3_000_000),
      NONE,
      () => false,
      () => {},
    ),
    [`${name}: odd address`]: ringStep(
      index,
      REQUEST.SET_VRING_ADDR,
      (a) => {
        const bytes = Buffer.from(a.address(index));
        bytes.writeUInt8(1, 8);
        return bytes;
      },
      NONE,
      () => false,
      () => {},
    ),
    [`${name}: size with a descriptor`]: (model, real) =>
      told(
        model,
        real,
        REQUEST.SET_VRING_NUM,
        vringState(index, SIZE),
        [real.a.rings[0].kickDescriptor],
        false,
      ),
    [`${name}: kick`]: (_, real) => native.signal(real.a.rings[index].kickDescriptor),
  };
}
