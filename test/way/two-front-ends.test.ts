/** A VM with two sockets, to each of which a front-end is connected (docs/decisions/0013-several-front-ends.md). */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { DirtyLogArea } from '../support/dirty-log.ts';
import { asSplit } from '../support/driver-split.ts';
import { parse } from '../support/packets.ts';
import { FEATURE } from '../support/protocol.ts';
import { A, B, THREE_VMS, udpFrame } from '../support/traffic.ts';
import { pause } from '../support/until.ts';
import { LINUX_FEATURES, Vm } from '../support/vm.ts';
import { World } from '../support/world.ts';

let folder: string;
let sockets: string[];
let world: World;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'basewire-test-'));
  sockets = ['a.1', 'a.2'].map((name) => join(folder, name));
  const a = { ...THREE_VMS.a, socket: undefined, sockets };
  world = await World.start({ vms: { ...THREE_VMS, a } });
});
afterEach(() => world.release());
afterAll(async () => {
  await world?.close();
  rmSync(folder, { recursive: true, force: true });
});

/** The text of the next UDP datagram. */
async function text(vm: Vm): Promise<string> {
  return parse((await vm.receive()).frame).udp!.payload.toString();
}

/** A front-end that has connected and negotiated, and starts nothing. */
async function connect(socket: string): Promise<Vm> {
  const vm = world.adopt(await Vm.connect(socket));
  await vm.negotiate();
  return vm;
}

test('what a front-end sent while another one was the current one goes out when that is gone', async () => {
  const b = await world.vm('b');
  const first = world.adopt(await Vm.start(sockets[0]!));
  const second = world.adopt(await Vm.start(sockets[1]!));
  const send = (vm: Vm, what: string) => vm.send(udpFrame(A, B.ip, Buffer.from(what)));
  await send(second, 'from the current one');
  expect(await text(b)).toBe('from the current one');
  await send(first, 'from the other one');
  await pause(100); // its kick has been taken, and the base has gone to sleep
  second.close();
  expect(await text(b)).toBe('from the other one');
});

describe('a front-end whose rings are started keeps the port when another one only connects', () => {
  test('while its log is still to come', async () => {
    const b = await world.vm('b');
    const features = LINUX_FEATURES | FEATURE.LOG_ALL;
    const first = world.adopt(await Vm.connect(sockets[0]!, { features }));
    await first.negotiate();
    await first.run();
    await connect(sockets[1]!);
    const log = new DirtyLogArea(16 << 20);
    try {
      expect(await log.share(first.frontEnd)).toBe(0n);
      await b.send(udpFrame(B, A.ip, Buffer.from('to the one whose rings run')));
      expect(await text(first)).toBe('to the one whose rings run');
    } finally {
      await world.release();
      log.close();
    }
  });

  test('with its output ring broken', async () => {
    const b = await world.vm('b');
    const first = world.adopt(await Vm.start(sockets[0]!));
    await world.daemon.untilState('a', 'running');
    // Its avail index runs ahead: that ring is broken, the other one goes on.
    const queue = asSplit(first.transmitQueue());
    queue.availableIndex = queue.next + 1000;
    queue.kick();
    await world.daemon.untilState('a', 'broken');
    for (const when of ['before', 'after']) {
      if (when === 'after') await connect(sockets[1]!);
      await b.send(udpFrame(B, A.ip, Buffer.from(when)));
      expect(await text(first)).toBe(when);
    }
  });
});

describe('what waits for buffers of a front-end, for which it was made, waits no longer', () => {
  /** Has two datagrams wait for one without buffers; `settled`: how many are still waiting, and how many were dropped since. */
  async function waits() {
    const b = await world.vm('b');
    const first = world.adopt(await Vm.start(sockets[0]!, { receiveBuffers: 0 }));
    const [waiting, dropped] = [await count('waiting'), await count('receiverNotRunning')];
    for (let i = 0; i < 2; i++) await b.send(udpFrame(B, A.ip, Buffer.from(`${i}`)));
    await world.daemon.untilCount('b', 'waiting', waiting + 2);
    const settled = async () => [
      (await count('waiting')) - waiting,
      (await count('receiverNotRunning')) - dropped,
    ];
    return { b, first, settled };
  }
  const count = (name: string) => world.daemon.count('b', name);

  test('when another one takes its place', async () => {
    const { b, settled } = await waits();
    const second = await connect(sockets[1]!);
    second.createQueues();
    await second.applyFeatures();
    await second.shareMemory();
    second.fillReceive();
    // As QEMU does: its input ring takes datagrams as soon as it is started.
    for (const index of [0, 1]) await second.enable(index, true);
    for (const index of [0, 1]) await second.startRing(index);
    expect(await settled()).toEqual([0, 2]);
    await b.send(udpFrame(B, A.ip, Buffer.from('for the other one')));
    expect(await text(second)).toBe('for the other one');
  });

  test('when it goes', async () => {
    const { b, first, settled } = await waits();
    first.close();
    await world.daemon.untilState('a', 'waiting');
    expect(await settled()).toEqual([0, 2]);
    const next = world.adopt(await Vm.start(sockets[0]!));
    await b.send(udpFrame(B, A.ip, Buffer.from('for the next one')));
    expect(await text(next)).toBe('for the next one');
  });
});

test('that another front-end of it went is no error of a VM that runs', async () => {
  world.adopt(await Vm.start(sockets[0]!));
  await world.daemon.untilState('a', 'running');
  const second = await connect(sockets[1]!);
  const before = await world.daemon.count('a', 'disconnects');
  second.close();
  await world.daemon.untilCount('a', 'disconnects', before + 1);
  expect(await world.daemon.vm('a')).toMatchObject({ state: 'running', lastError: '' });
});
