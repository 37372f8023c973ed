/** The other direction of the socket: the front-end listens, and the base connects, again and again until somebody is there. */
import { mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { native } from '../../src/native.ts';
import { FrontEnd } from '../support/frontend.ts';
import { parse } from '../support/packets.ts';
import { A, B, THREE_VMS, udpFrame } from '../support/traffic.ts';
import { pause, until } from '../support/until.ts';
import { Vm } from '../support/vm.ts';
import { World } from '../support/world.ts';

let folder: string;
let path: string;
let world: World;
let b: Vm;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'basewire-sockets-'));
  path = join(folder, 'a.sock');
  const socket = { path, mode: 'client' };
  world = await World.start({ vms: { ...THREE_VMS, a: { ...THREE_VMS.a, socket } } });
  b = await world.vm('b');
});
afterEach(() => world.balance());
afterAll(async () => {
  await world?.close();
  rmSync(folder, { recursive: true, force: true });
});

/** Listens as QEMU does, for one connection. */
async function listen(): Promise<FrontEnd> {
  const listening = native.unixListen(path, 0o600, 1);
  try {
    const fd = await until('the base to connect', () => {
      const accepted = native.unixAccept(listening);
      return accepted >= 0 ? { accepted } : null;
    });
    return new FrontEnd(fd.accepted);
  } finally {
    native.closeDescriptor(listening);
    rmSync(path);
  }
}

async function passes(a: Vm, text: string): Promise<void> {
  await a.send(udpFrame(A, B.ip, Buffer.from(text)));
  expect(parse((await b.receive()).frame).udp?.payload.toString()).toBe(text);
  await b.send(udpFrame(B, A.ip, Buffer.from(text)));
  expect(parse((await a.receive()).frame).udp?.payload.toString()).toBe(text);
}

test('a front-end that comes late, goes and comes again', async () => {
  // Nobody listens yet, and the base goes on.
  expect((await world.daemon.vm('a')).state).toBe('waiting');
  let last: Vm | undefined;
  for (const text of ['late', 'again', 'and again']) {
    const a = world.adopt(await Vm.over(await listen(), last));
    await world.daemon.untilState('a', 'running');
    await passes(a, text);
    a.frontEnd.close();
    await world.daemon.untilState('a', 'waiting');
    last = a;
  }
});

test('while a front-end is there the base connects to nobody else', async () => {
  const a = world.adopt(await Vm.over(await listen()));
  const listening = native.unixListen(path, 0o600, 1);
  try {
    for (let round = 0; round < 15; round++) {
      await passes(a, `round ${round}`);
      await pause(100);
    }
    expect(native.unixAccept(listening), 'nobody has connected').toBe(-1);
  } finally {
    native.closeDescriptor(listening);
    rmSync(path);
    a.frontEnd.close();
    await world.daemon.untilState('a', 'waiting');
  }
});

test('over a restart of the base, which connects by itself', async () => {
  const a = world.adopt(await Vm.over(await listen()));
  await world.daemon.untilState('a', 'running');
  const { offered } = a;
  await world.daemon.die();
  const [again] = await Promise.all([listen(), world.daemon.restart()]);
  const resumed = world.adopt(await Vm.over(again, a));
  expect(resumed.offered).toBe(offered);
  b = world.adopt(await Vm.over(await FrontEnd.connect(world.daemon.socket('b')), b));
  for (const name of ['a', 'b']) await world.daemon.untilState(name, 'running');
  await passes(resumed, 'back');
  resumed.frontEnd.close();
  await world.daemon.untilState('a', 'waiting');
});

test('a path that leads to another VM’s socket: that VM is not kept out in our name', async () => {
  const { daemon } = world;
  symlinkSync(daemon.socket('c'), path);
  try {
    await until('the base to notice', () =>
      daemon.lines.some((line) => line.includes('it leads to a socket of this daemon')),
    );
    await world.vm('c');
    expect((await daemon.vm('a')).state).toBe('waiting');
  } finally {
    rmSync(path);
  }
});
