/**
 * Drivers that work while the base does, on threads of their own (test/support/driver-threads.cc), with chains, tables and merged buffers of
 * every shape: each datagram comes once, in order and as it was sent, and nobody sleeps for ever. Meanwhile their front-ends exchange what may be
 * exchanged while rings run, and stop output rings and start them again.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { native } from '../../src/native.ts';
import { BOTH_FORMATS, FORMATS } from '../support/formats.ts';
import { FEATURE, REQUEST } from '../support/protocol.ts';
import { LONG, type Random, seeded } from '../support/random.ts';
import { A, B, type Host, udpFrame } from '../support/traffic.ts';
import { PLAIN_FEATURES, type Vm, type VmOptions } from '../support/vm.ts';
import { World } from '../support/world.ts';

const compiler = process.env.CXX ?? 'g++';
const NO_COMPILER = spawnSync(compiler, ['--version']).error;
const SOURCE = fileURLToPath(new URL('../support/driver-threads.cc', import.meta.url));
const DATAGRAMS = LONG ? 2_000_000 : 20_000;
/** Under way to one VM: fewer than wait for anybody's buffers, so that none is dropped. */
const WINDOW = 300;
/** Longest frame, and bytes of a slot: a table of sixteen entries and a buffer. */
const LONGEST = 1514;
const TABLE = 256;
const WHOLE = TABLE + 12 + LONGEST;
const PART = TABLE + 300;
const HEADERS = 42;
const FLAG = { PACKED: 1, EVENT_IDX: 2, INDIRECT: 4, IN_ORDER: 8 };
const MEMORY = { regions: [{ guestAddress: 0x100000, bytes: 16 << 20 }] };

const { EVENT_IDX, INDIRECT_DESC, IN_ORDER, MRG_RXBUF } = FEATURE;
const DRIVERS: Record<string, { features: bigint; receiveBytes: number; size: number }> = {
  'flags only': { features: 0n, receiveBytes: WHOLE, size: 128 },
  'EVENT_IDX and merged buffers': {
    features: EVENT_IDX | MRG_RXBUF,
    receiveBytes: PART,
    size: 256,
  },
  'EVENT_IDX, merged buffers and tables': {
    features: EVENT_IDX | MRG_RXBUF | INDIRECT_DESC,
    receiveBytes: PART,
    size: 256,
  },
  'IN_ORDER, EVENT_IDX and tables': {
    features: IN_ORDER | EVENT_IDX | INDIRECT_DESC,
    receiveBytes: WHOLE,
    size: 16,
  },
};

let folder: string;
let program: string;
let world: World;

beforeEach((context) =>
  context.skip(NO_COMPILER !== undefined, `needs a C++ compiler: ${NO_COMPILER?.message}`),
);
beforeAll(async () => {
  if (NO_COMPILER) return;
  folder = mkdtempSync(join(tmpdir(), 'basewire-drivers-'));
  program = join(folder, 'driver-threads');
  const flags = ['-std=gnu++17', '-O2', '-Wall', '-Wextra', '-Werror'];
  const words = [...flags, SOURCE, '-o', program, '-pthread'];
  const built = spawnSync(compiler, words, { encoding: 'utf8' });
  expect(built.stderr).toBe('');
  world = await World.start(BOTH_FORMATS);
});
afterEach(() => world?.release());
afterAll(async () => {
  await world?.close();
  if (folder) rmSync(folder, { recursive: true, force: true });
});

/** Starts the drivers of two VMs whose rings nobody has touched. */
function startDrivers(vms: readonly [Vm, Vm], seed: number, flags: number): ChildProcess {
  const passed: number[] = [];
  const pass = (descriptor: number): number => passed.push(descriptor) + 2;
  const words: number[] = [seed, DATAGRAMS, WINDOW, LONGEST, flags];
  const hosts: [Host, Host] = [A, B];
  for (const [index, { memory, queues }] of vms.entries()) {
    const [region] = memory.regions;
    words.push(pass(region.descriptor), region.at, region.length);
    for (const queue of queues) {
      words.push(queue.size, queue.descriptorsAt, queue.availableAt, queue.usedAt, queue.slotsAt);
      words.push(queue.slotBytes, pass(queue.kickDescriptor), pass(queue.callDescriptor));
    }
    words.push(
      ...udpFrame(hosts[index], hosts[1 - index].ip, Buffer.alloc(8)).subarray(0, HEADERS),
    );
  }
  const child = spawn(program, { stdio: ['pipe', 'pipe', 'inherit', ...passed] });
  child.stdin!.end(words.join(' '));
  return child;
}

/** What a front-end may do while its driver works: nothing of it may be noticed. */
const EXCHANGES: Record<string, (vm: Vm, random: Random) => Promise<void>> = {
  'the call descriptor, and back': async ({ frontEnd, queues }, random) => {
    const index = random.below(queues.length);
    const other = native.eventfd();
    try {
      await frontEnd.setVringDescriptor(REQUEST.SET_VRING_CALL, index, other);
      const { callDescriptor } = queues[index];
      await frontEnd.setVringDescriptor(REQUEST.SET_VRING_CALL, index, callDescriptor);
    } finally {
      native.closeDescriptor(other);
    }
  },
  'the kick descriptor for itself': async ({ frontEnd, queues }, random) => {
    const index = random.below(queues.length);
    const { kickDescriptor } = queues[index];
    await frontEnd.setVringDescriptor(REQUEST.SET_VRING_KICK, index, kickDescriptor);
  },
  'the memory for itself': async ({ frontEnd, memory }) => {
    expect(await frontEnd.setMemoryTable(memory.regions)).toBe(0n);
  },
  'an output ring that stops and starts again': async (vm) => {
    await vm.startRing(1, await vm.stopRing(1));
  },
};

describe.each(FORMATS)('drivers that work while the base does: $format', ({ packed }) => {
  async function vm(name: string, options: VmOptions): Promise<Vm> {
    const started = await world.connected(name, { ...options, packed, memory: MEMORY });
    await started.negotiate();
    started.createQueues();
    await started.applyFeatures();
    await started.shareMemory();
    for (const index of [0, 1]) {
      await started.startRing(index);
      await started.enable(index, true);
    }
    return started;
  }

  test.each(Object.entries(DRIVERS))(
    '%s',
    { timeout: LONG ? 600_000 : 60_000 },
    async (_, { features, receiveBytes, size }) => {
      const random = seeded();
      // Packed rings may have any size.
      const options = {
        features: PLAIN_FEATURES | features,
        receiveBytes,
        transmitBytes: WHOLE,
        queueSize: packed ? size - 1 : size,
      };
      const vms = [await vm('a', options), await vm('b', options)] as const;
      const flags =
        (packed ? FLAG.PACKED : 0) |
        (features & EVENT_IDX ? FLAG.EVENT_IDX : 0) |
        (features & INDIRECT_DESC ? FLAG.INDIRECT : 0) |
        (features & IN_ORDER ? FLAG.IN_ORDER : 0);
      const child = startDrivers(vms, random.word(), flags);
      try {
        let said = '';
        child.stdout!.setEncoding('utf8').on('data', (text: string) => {
          said += text;
        });
        let ended = false;
        const end = new Promise<number | null>((resolve) => {
          child.on('close', (status) => {
            ended = true;
            resolve(status);
          });
        });
        while (!ended)
          await EXCHANGES[random.pick(Object.keys(EXCHANGES))](random.pick(vms), random);
        expect(said).toBe('');
        expect(await end).toBe(0);
      } finally {
        child.kill();
      }
      await world.balance();
      for (const name of ['a', 'b']) {
        const { output, drops } = await world.daemon.vm(name);
        expect(Object.entries(drops).filter(([, count]) => count > 0)).toEqual([]);
        expect(output.datagrams).toBeGreaterThanOrEqual(DATAGRAMS);
      }
    },
  );
});
