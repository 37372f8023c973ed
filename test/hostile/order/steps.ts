/**
 * Everything that a front-end or driver can do to a port, in any order. Each step says what must come of it; afterwards the base has done that
 * and nothing else.
 */
import type { Command } from 'fast-check';
import { parse } from '../../support/packets.ts';
import {
  FEATURE,
  memoryTable,
  PROTOCOL_FEATURE,
  REQUEST,
  singleRegion,
  u64,
  vringState,
} from '../../support/protocol.ts';
import { A, B, udpFrame } from '../../support/traffic.ts';
import { ALL_PROTOCOL, type Peer, SIZE } from './bench.ts';
import type { Model } from './model.ts';
import { closes, connect, type Real, ringSteps, same, type Take, told } from './ring-steps.ts';

const region = ({ memory }: Peer, index: number) => memory.regions[index];

function memorySteps(index: number): Record<string, Take> {
  const slots = (model: Model) => model.has(PROTOCOL_FEATURE.CONFIGURE_MEM_SLOTS);
  return {
    [`add region ${index}`]: (model, real) => {
      const there = model.regions.get(index);
      const done = slots(model) && there !== 'table';
      if (done && there === undefined) {
        model.regions.set(index, 'added');
        model.removed.delete(index);
        model.memoryChanged();
      }
      const one = region(real.a, index);
      told(model, real, REQUEST.ADD_MEM_REG, singleRegion(one), [one.descriptor], done);
    },
    [`remove region ${index}`]: (model, real) => {
      const there = model.regions.has(index);
      const done = slots(model) && (there || model.removed.has(index));
      if (done && there) {
        model.regions.delete(index);
        model.removed.add(index);
        model.memoryChanged();
      }
      told(model, real, REQUEST.REM_MEM_REG, singleRegion(region(real.a, index)), [], done);
    },
  };
}

function table(...indices: number[]): Take {
  return (model, real) => {
    model.regions = new Map(indices.map((index) => [index, 'table']));
    model.removed.clear();
    model.memoryChanged();
    const regions = indices.map((index) => region(real.a, index));
    told(
      model,
      real,
      REQUEST.SET_MEM_TABLE,
      memoryTable(regions),
      regions.map(({ descriptor }) => descriptor),
      true,
    );
  };
}

const refused =
  (request: number, payload: Buffer): Take =>
  (model, real) =>
    told(model, real, request, payload, [], false);
const done =
  (request: number, payload: Buffer, needs = 0n): Take =>
  (model, real) =>
    told(model, real, request, payload, [], needs === 0n || model.has(needs));
const answers =
  (request: number, value: (a: Peer) => bigint | null, needs = 0n): Take =>
  (model, real) => {
    if (needs !== 0n && !model.has(needs)) return closes(real, request, Buffer.alloc(0));
    const reply = real.a.exchange(request, Buffer.alloc(0), [], true)!;
    const expected = value(real.a);
    if (expected !== null) same('the answer', reply.readBigUInt64LE(0), expected);
  };

/** Three for all others. */
const WEIGHTS: Record<string, number> = {
  'all that makes it run': 30,
  'the driver sends': 40,
  'the other VM sends': 15,
  // these begin anew
  'hang up': 1,
  'half a payload': 1,
  'where ring 99 stands': 1,
  'a log of nothing': 1,
  'get memory slots': 1,
  log: 1,
  'reset the device': 2,
};

export const STEPS: Record<string, Take> = {
  ...ringSteps(0),
  ...ringSteps(1),
  ...memorySteps(0),
  ...memorySteps(1),
  'both regions as a table': table(0, 1),
  'the first region as a table': table(0),
  'the second region as a table': table(1),
  'an empty table': refused(REQUEST.SET_MEM_TABLE, Buffer.alloc(8)),
  'a table without its descriptors': (model, real) =>
    told(model, real, REQUEST.SET_MEM_TABLE, memoryTable(real.a.memory.regions), [], false),
  'features again': (model, real) => {
    if (model.startEnabled) for (const ring of model.spokenOf) ring.enabled &&= ring.asked;
    model.startEnabled = false;
    told(model, real, REQUEST.SET_FEATURES, u64(real.a.features), [], true);
  },
  'features without PROTOCOL_FEATURES': (model, real) => {
    for (const ring of model.spokenOf) ring.enabled ||= !ring.asked;
    model.startEnabled = true;
    const features = real.a.features & ~FEATURE.PROTOCOL_FEATURES;
    told(model, real, REQUEST.SET_FEATURES, u64(features), [], true);
  },
  'features that were not offered': refused(REQUEST.SET_FEATURES, u64(1n << 60n)),
  'all protocol features': (model, real) => {
    // With REPLY_ACK from here on, for this request, too.
    model.protocol = ALL_PROTOCOL;
    told(model, real, REQUEST.SET_PROTOCOL_FEATURES, u64(ALL_PROTOCOL), [], true);
  },
  'acknowledgements only': (model, real) => {
    model.protocol = PROTOCOL_FEATURE.REPLY_ACK;
    told(model, real, REQUEST.SET_PROTOCOL_FEATURES, u64(PROTOCOL_FEATURE.REPLY_ACK), [], true);
  },
  'no protocol features': (model, real) => {
    told(model, real, REQUEST.SET_PROTOCOL_FEATURES, u64(0n), [], true);
    model.protocol = 0n;
  },
  'protocol features that were not offered': refused(REQUEST.SET_PROTOCOL_FEATURES, u64(1n << 40n)),
  owner: done(REQUEST.SET_OWNER, Buffer.alloc(0)),
  'no owner': (model, real) => {
    for (const ring of model.spokenOf) Object.assign(ring, { enabled: false, asked: false });
    told(model, real, REQUEST.RESET_OWNER, Buffer.alloc(0), [], true);
  },
  'reset the device': (model, real) => {
    const may = model.has(PROTOCOL_FEATURE.RESET_DEVICE);
    told(model, real, REQUEST.RESET_DEVICE, Buffer.alloc(0), [], may);
    if (!may) return;
    for (const ring of model.spokenOf)
      Object.assign(ring, {
        started: false,
        waits: false,
        mapped: false,
        enabled: false,
        asked: false,
      });
    model.pending = [];
    // The driver begins anew, and its front-end says so.
    for (const [index, ring] of real.a.rings.entries()) {
      real.a.resetRing(ring);
      model.ring(index);
      told(model, real, REQUEST.SET_VRING_BASE, vringState(index, ring.freshBase), [], true);
    }
    real.a.fill();
  },
  'MTU 1500': done(REQUEST.NET_SET_MTU, u64(1500n), PROTOCOL_FEATURE.NET_MTU),
  'MTU 0': refused(REQUEST.NET_SET_MTU, u64(0n)),
  RARP: done(REQUEST.SEND_RARP, u64(0x0b0000005452n), PROTOCOL_FEATURE.RARP),
  log: (model, real) => {
    const fd = real.a.memory.regions[0].descriptor;
    const size = Buffer.concat([u64(0x1000n), u64(0n)]);
    if (!model.has(PROTOCOL_FEATURE.LOG_SHMFD))
      return closes(real, REQUEST.SET_LOG_BASE, size, [fd]);
    same('the answer', real.a.exchange(REQUEST.SET_LOG_BASE, size, [fd], true)?.length, 8);
  },
  'a log of nothing': (_, real) =>
    closes(real, REQUEST.SET_LOG_BASE, Buffer.alloc(16), [real.a.memory.regions[0].descriptor]),
  'unknown request': refused(200, Buffer.alloc(16)),
  'size of ring 99': refused(REQUEST.SET_VRING_NUM, vringState(99, SIZE)),
  'enable ring 65536': refused(REQUEST.SET_VRING_ENABLE, vringState(65_536, 1)),
  'where ring 99 stands': (_, real) => closes(real, REQUEST.GET_VRING_BASE, vringState(99, 0)),
  'half a payload': (_, real) => closes(real, REQUEST.SET_VRING_NUM, Buffer.alloc(4)),
  'get features': answers(REQUEST.GET_FEATURES, () => null),
  'get protocol features': answers(REQUEST.GET_PROTOCOL_FEATURES, () => null),
  'get queue pairs': answers(REQUEST.GET_QUEUE_NUM, () => 16n),
  'get memory slots': answers(
    REQUEST.GET_MAX_MEM_SLOTS,
    () => 509n,
    PROTOCOL_FEATURE.CONFIGURE_MEM_SLOTS,
  ),
  'hang up': (_, { a }) => a.disconnect(),
  'the driver sends': (model, { a }) => {
    if (a.send(udpFrame(A, B.ip, Buffer.from(`${model.next}`)))) model.pending.push(model.next++);
  },
  'the other VM sends': (model, { a, bench }) => {
    const before = bench.counters.get(1, 'receiverNotRunning');
    const text = `back ${model.next++}`;
    bench.b.send(udpFrame(B, A.ip, Buffer.from(text)));
    bench.settle();
    const running = model.runs(0) && model.rings[0].enabled;
    same('received', a.received().map(textOf).join(), running ? text : '');
    same('not running', bench.counters.get(1, 'receiverNotRunning') - before, running ? 0 : 1);
  },
};

/** What a driver's start comes to, step by step. */
const MACROS: Record<string, string[]> = {
  'all that makes it run': [
    'both regions as a table',
    ...['input', 'output'].flatMap((ring) =>
      ['size', 'address', 'base', 'start', 'enable'].map((step) => `${ring}: ${step}`),
    ),
  ],
};
/** Steps by how often they are drawn: often enough that most things happen to rings that run. */
export const DRAWN: string[] = Object.keys({ ...STEPS, ...MACROS }).flatMap((name) =>
  Array<string>(WEIGHTS[name] ?? 3).fill(name),
);

function textOf(frame: Buffer): string {
  const { udp, problems } = parse(frame);
  same('problems', problems.join(), '');
  return udp!.payload.toString();
}

/** One step, and what must be true after each. */
export class Step implements Command<Model, Real> {
  readonly name: string;

  constructor(name: string) {
    this.name = name;
  }

  check(): boolean {
    return true;
  }

  run(model: Model, real: Real): void {
    const parts = MACROS[this.name];
    if (parts !== undefined) for (const name of parts) new Step(name).run(model, real);
    else this.#take(model, real);
  }

  #take(model: Model, real: Real): void {
    const { a, bench } = real;
    // Announcements since the last look, whose buffers the driver offers again.
    same('unasked', a.received().length, 0);
    const driver = this.name === 'the driver sends';
    const idle = model.idle;
    if (driver) STEPS[this.name](model, real);
    real.a.memory.regions.forEach(({ bytes }, index) => {
      bytes.copy(real.shadows[index]);
    });
    const discarded = bench.count('ringDisabled');
    if (!driver) STEPS[this.name](model, real);
    if (this.name.startsWith('the driver') || this.name.endsWith(': kick')) bench.settle();
    // What lies in a ring that runs is taken: delivered if it is enabled, else discarded.
    let expected: number[] = [];
    let thrown = 0;
    if (model.runs(1) && !a.closed) {
      if (model.rings[1].enabled) expected = model.pending;
      else thrown = model.pending.length;
      model.pending = [];
    }
    same('received', bench.b.received().map(textOf).join(), expected.join());
    same('discarded', bench.count('ringDisabled') - discarded, thrown);
    if (idle && model.idle && this.name !== 'reset the device') {
      const untouched = real.a.memory.regions.every(({ bytes }, index) =>
        bytes.equals(real.shadows[index]),
      );
      same('untouched by rings that do not run', untouched, true);
    }
    if (a.closed) connect(model, real);
  }

  toString(): string {
    return this.name;
  }
}
